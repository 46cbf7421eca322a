"""The noise bank: a seed means the same noise everywhere."""

import pytest
import torch

from pfd_engine import noise
from pfd_engine.flow.noise import noise_of


def test_every_seed_has_its_own_generator():
    z = noise(5, 9, (3, 4, 4))
    assert z.shape == (4, 3, 4, 4)
    assert z.dtype == torch.float32
    for i, row in enumerate(z):
        assert torch.equal(row, torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(5 + i)))


def test_noise_does_not_depend_on_batch_or_order():
    whole = noise(0, 20, (7,))
    assert torch.equal(torch.cat([noise(13, 20, (7,)), noise(0, 13, (7,))]), torch.cat([whole[13:], whole[:13]]))
    assert torch.equal(noise_of([17, 3], (7,)), whole[[17, 3]])


def test_renoising_is_the_next_draw_of_the_same_generator():
    generator = torch.Generator().manual_seed(11)
    draws = [torch.randn(2, 5, generator=generator) for _ in range(3)]
    for k, draw in enumerate(draws):
        assert torch.equal(noise_of([11], (2, 5), draw=k)[0], draw)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 4), (0, 2**32 + 1)])
def test_seeds_outside_32_bits_are_refused(start, stop):
    with pytest.raises(ValueError, match="32 bits"):
        noise(start, stop, (2,))


def test_the_last_seed_is_not_the_first_again():
    assert not torch.equal(noise(2**32 - 1, 2**32, (8,)), noise(0, 1, (8,)))
    assert noise(3, 3, (2,)).shape == (0, 2)
