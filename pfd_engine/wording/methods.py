"""What the Methods page and the static snapshot say about every number: prose as Markdown, formulas as LaTeX."""

PAPER = "https://arxiv.org/abs/2505.20123"
DISTANCE = r"""\mathrm{PFD}(p, q) = \sqrt{\mathbb{E}_{x_T}\,\big\lVert \Psi(\Phi_p(x_T)) - \Psi(\Phi_q(x_T)) \big\rVert^2}"""
FLOW = r"""\frac{\mathrm{d}x}{\mathrm{d}\sigma} = \frac{x - D(x; \sigma)}{\sigma}, \qquad x_T = T z,\quad z \sim \mathcal{N}(0, I)"""
DECOMPOSITION = (
    r"""\underbrace{\tfrac1K\textstyle\sum_k \lVert f_k - f^\ast \rVert^2}_{E_\mathrm{gen}^2} = \mathrm{bias}^2 + \mathrm{variance}"""
)
NUMBERS = (
    (
        "PFD",
        "root mean square distance of the two images that one noise reaches through both models",
        "nothing about beauty: a blurred student and one that draws other digits can lie equally far",
    ),
    ("E_gen", "PFD from a student to its teacher, which stands for the data", "how good the teacher is"),
    (
        "E_mem",
        "PFD from a student to the exact flow of its own training samples, which can only reproduce them",
        "whether those samples were private, or rare",
    ),
    ("E_emp", "PFD from that exact flow to the teacher: where perfect memorization would end", "what any student does"),
    (
        "Memorization ratio",
        "share of images whose nearest training image is closer than a third of the second nearest",
        "copies of an image that the training set nearly holds twice are missed",
    ),
    (
        "Constant image",
        "how far the best single image lies from all that the teacher makes of the same noises; no other constant image lies closer. A "
        "student above it is farther from its teacher than one image for every noise",
        "how good the student's images look",
    ),
    (
        "Shuffled ceiling",
        "the same end points paired at random, as two models without a common coupling would have them",
        "it is not a bound: a PFD can exceed it",
    ),
    (
        "Retrained floor",
        "PFD between two teachers that differ in their training seed only. It is known for the bundled teacher",
        "a limit: a student can lie closer to its teacher than another training of the teacher does",
    ),
    (
        "Interval",
        "95 %: of one evaluation over the noises alone; of a sweep over students, their training sets among them, and noises. Below 32 "
        "noises it is marked",
        "what another recipe, teacher or data set would give",
    ),
    (
        "Tail share",
        "the share of the sum of squared distances that the largest 1 % of the noises hold. Above 0.2 the interval is marked, because it "
        "may then be too narrow",
        "whether a rare kind of noise was missed altogether",
    ),
    (
        "Not ruled out",
        "the share of noises that may behave in a way that was not seen, about 3 / M with 95 % confidence",
        "how far apart the models lie at such noises",
    ),
    (
        "Solver error",
        "what the solver's finite number of steps adds to a distance, found by following some noises again with two and four times the "
        "steps. Where these show the solver's order it is extrapolated and has a sign; elsewhere it is a bound",
        "the error of the last step, which the smallest noise level fixes",
    ),
)
BIBTEX = """@article{zhang2025pfd,
  title   = {Understanding Generalization in Diffusion Distillation via Probability Flow Distance},
  author  = {Zhang, Huijie and Huang, Zijian and Chen, Siyi and Zhou, Jinfan and Zhang, Zekai and Wang, Peng and Qu, Qing},
  journal = {arXiv preprint arXiv:2505.20123},
  year    = {2025}
}"""
INTRODUCTION = (
    "A diffusion model turns noise into an image by following its **probability flow**, an ordinary differential equation without any "
    "randomness of its own. So two models can be asked the same question: *where does this very noise end up?* How far apart their "
    "answers lie, on average over noises, is the **probability flow distance** "
    f"([Zhang et al., arXiv 2505.20123]({PAPER}))."
)
NOTATION = (
    "D is the model's denoiser, Φ the map from noise to image, and Ψ what images are compared by: their pixels, or the features of a "
    "network. Only with pixels is PFD a metric: with features, a distance of 0 need not mean equal images. Both sides use the same "
    "noises, noise levels, solver and steps, so that most of the solver's error cancels; against a student of few steps the teacher's "
    "map is refined until it has converged. Students that add fresh noise between steps lose the coupling with the first noise: their "
    "numbers say so, for then PFD measures coupling and distribution together."
)
VERDICTS = (
    "A verdict compares distances noise by noise. Each comparison below means that the 95 % interval of the paired difference of squares "
    "excludes 0."
)
VERDICT_LIST = (
    "- **Memorizes.** The student is closer to the map of its training set than to its teacher, and closer to that map than a constant "
    "image is.\n"
    "- **Generalizes.** The student is closer to its teacher than to the map of its training set. It is also closer to the teacher than a "
    "constant image is, and than that map is.\n"
    "- **Neither.** The student is farther from its teacher than a constant image, or than the map of its training set, and it does not "
    "memorize.\n"
    "- **Undetermined.** The noises do not tell these apart, or the training set is so large that copying it and generalizing look alike."
)
NO_VERDICTS = (
    "There is no verdict without a training set, and none on a student that draws fresh noise between its steps. A *diagnostic map* has "
    "none either: in it the teacher acts outside the noise levels that the student's training covered, which shows where an effect arises. "
    "Results that were measured before constant images were are *judged by an older rule* and need a new measurement."
)
FINDINGS = (
    "- **Scaling.** With few training samples a student memorizes: E_mem is small, E_gen large. With many it generalizes. They "
    "cross at N\\*, which grows with the student's size; the paper finds N\\* ~ √parameters. Here the exponent is fitted, "
    "with its interval.\n"
    "- **Training dynamics.** With few samples E_gen falls and then rises: early learning, then overfitting. In between it may fall "
    "twice, *double descent*. A rise or a fall is called one only where its paired interval, corrected for all the checkpoints and N that "
    "were looked at, excludes 0; else the verdict is *undetermined*.\n"
    "- **Bias and variance.** Students of one size on independent training sets of one N: what they all get wrong is bias, how they "
    "differ is variance, and both estimates add up to the error exactly:"
)
