"""Methods: what every number here means and where it ends, with two Gaussians to try it on (`?shift=&spread=&steps=&noises=`)."""

from __future__ import annotations

import streamlit as st

from pages.common.layout import BIAS_VARIANCE, DYNAMICS, SCALING, page

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
        "memorization ratio",
        "share of images whose nearest training image is closer than a third of the second nearest",
        "copies of an image that the training set nearly holds twice are missed",
    ),
    ("shuffled ceiling", "the same end points paired at random: models without a common coupling", "it is no bound: a PFD can exceed it"),
    (
        "interval",
        "95 %: of one evaluation over the noises alone; of a sweep over students, their training sets among them, and noises",
        "what another recipe, teacher or data set would give",
    ),
)
BIBTEX = """@article{zhang2025pfd,
  title   = {Understanding Generalization in Diffusion Distillation via Probability Flow Distance},
  author  = {Zhang, Huijie and Huang, Zijian and Chen, Siyi and Zhou, Jinfan and Zhang, Zekai and Wang, Peng and Qu, Qing},
  journal = {arXiv preprint arXiv:2505.20123},
  year    = {2025}
}"""


def show() -> None:
    """Draw the page."""
    from pages.common import words

    st.title("Methods")
    st.markdown(
        "A diffusion model turns noise into an image by following its **probability flow**, an ordinary differential equation without any "
        "randomness of its own. So two models can be asked the same question: *where does this very noise end up?* How far apart their "
        "answers lie, on average over noises, is the **probability flow distance** "
        f"([Zhang et al., arXiv 2505.20123]({PAPER}))."
    )
    st.latex(DISTANCE)
    st.latex(FLOW)
    st.markdown(
        "D is the model's denoiser, Φ the map from noise to image, and Ψ what images are compared by: their pixels, or the features of a "
        "network. Only with pixels is PFD a metric: with features, a distance of 0 need not mean equal images. Both sides use the same "
        "noises, noise levels, solver and steps, so that most of the solver's error cancels; against a student of few steps the teacher's "
        "map is refined until it has converged. Students that add fresh noise between steps lose the coupling with the first noise: their "
        "numbers say so, for then PFD measures coupling and distribution together."
    )
    example()
    st.subheader("The numbers, and what they do not say")
    st.html(words.facts([(name, f"{what[0].upper()}{what[1:]}. What it does not say: {limit}.") for name, what, limit in NUMBERS]))
    findings()
    st.subheader("Citation")
    st.markdown("If you use these numbers, cite the paper that introduced them:")
    st.code(BIBTEX, language="bibtex")


def example() -> None:
    """Draw the live example: two Gaussians in one dimension."""
    import numpy as np

    from pages.common import words
    from pages.common.choices import Choices
    from pfd_engine import figures
    from pfd_engine.gaussian_example import SIGMA_MAX, SIGMA_MIN, Gaussian, heun, measure
    from pfd_engine.solvers import sigma_grid

    st.subheader("Try it: two Gaussians")
    st.markdown("The teacher is N(0, 0.5²). Move the student away, and compare what a solver measures with the formula.")
    choices = Choices("methods")
    first, second = st.columns(2, gap="medium")
    with first:
        shift = choices.slide("shift", "Mean of the student", -1.0, 1.0, 0.05, 0.3)
        spread = choices.slide("spread", "Standard deviation of the student", 0.1, 1.0, 0.05, 0.7)
    with second:
        steps = round(choices.slide("steps", "Steps of the solver (Heun)", 2.0, 64.0, 1.0, 18.0, format="%d"))
        noises = round(choices.slide("noises", "Number of noises M", 16.0, 2048.0, 16.0, 256.0, format="%d"))
    teacher, student = Gaussian(0.0, 0.5), Gaussian(shift, spread)
    found = measure(teacher, student, noises, steps)
    st.html(
        words.numbers(
            [
                (
                    "PFD measured",
                    words.number(found.value),
                    f"{words.number(found.ci_low)} to {words.number(found.ci_high)}\n95 % interval",
                ),
                ("PFD by formula", words.number(found.exact), "exact flows"),
                ("Shuffled ceiling", words.number(found.shuffled), "the same end points\npaired at random"),
            ]
        )
    )
    x_T = SIGMA_MAX * np.array([-1.6, -0.9, -0.3, 0.3, 0.9, 1.6])
    sigmas = np.array(sigma_grid(steps, SIGMA_MIN, SIGMA_MAX))
    figure = figures.trajectories(sigmas, heun(teacher, x_T, steps), heun(student, x_T, steps))
    st.plotly_chart(figure, key="trajectories", config=figures.CONFIG)
    st.caption(
        "Six noises, each through both flows. Fewer noises widen the interval; fewer steps move both sides, and the distance less than "
        "either, because one solver serves both."
    )


def findings() -> None:
    """Explain the three findings."""
    st.subheader("The three findings")
    st.markdown(
        "- **Scaling.** With few training samples a student memorizes: E_mem is small, E_gen large. With many it generalizes. They "
        "cross at N\\*, which grows with the student's size; the paper finds N\\* ~ √parameters. Here the exponent is fitted, "
        "with its interval.\n"
        "- **Training dynamics.** With few samples E_gen falls and then rises: early learning, then overfitting. In between it may fall "
        "twice, *double descent*. A rise or a fall is called one only where its paired interval, corrected for all the checkpoints that "
        "were looked at, excludes 0; else the verdict is *undetermined*.\n"
        "- **Bias and variance.** Students of one size on independent training sets of one N: what they all get wrong is bias, how they "
        "differ is variance, and both estimates add up to the error exactly:"
    )
    st.latex(DECOMPOSITION)
    with st.container(horizontal=True):
        for target, label in ((SCALING, "Scaling"), (DYNAMICS, "Training dynamics"), (BIAS_VARIANCE, "Bias-variance")):
            st.page_link(target, label=label)


with page("Methods"):
    show()
