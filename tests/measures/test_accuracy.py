"""Whether the answer is right, and stays so."""

from __future__ import annotations

import pytest
import torch

from salience import specs
from salience.case import Case
from salience.errors import SettingError
from salience.tasks.measure import measure_case
from tests.helpers import Asked, curved, noise


def value(spec: str, case: Case) -> float:
    """Measure."""
    return measure_case(case, specs.make_measure(spec)).value


def test_clean_accuracy_is_whether_the_target_is_the_likeliest_class() -> None:
    """1 for it, 0 for any other, nothing for a contrast."""
    box, image = curved(8), noise(3, 8, 8)
    top = int(box(image[None]).argmax())
    blank = torch.zeros(8, 8)
    assert [value("accuracy", Case(box, image, target, blank)) for target in range(3)] == [float(k == top) for k in range(3)]
    assert value("accuracy", Case(box, image, (0, 1), blank)) != value("accuracy", Case(box, image, 0, blank))


def test_under_noise_it_is_the_share_of_ten_copies() -> None:
    """A box that answers by its own first pixel: above a half or not."""
    seen: list[torch.Tensor] = []

    def first(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.stack([0.5 - images[:, 0, 0, 0], images[:, 0, 0, 0] - 0.5], 1)

    case = Case(Asked(first), torch.full((3, 8, 8), 0.55), 1, torch.zeros(8, 8))
    found = value("accuracy/noise", case)
    pixels = torch.cat(seen)[:, 0, 0, 0]
    assert len(pixels) == 10
    assert found == pytest.approx(float((pixels > 0.5).float().mean()))
    assert 0 < found < 1
    assert value("accuracy/noise?sigma=0", case) == 1


def test_an_attack_finds_what_a_corner_of_a_linear_box_is() -> None:
    """For two classes whose logits are linear the worst image is known: every pixel goes by ε against its weight."""
    box, image = curved(8, classes=2), 0.4 + 0.2 * noise(3, 8, 8)
    top = int(box(image[None]).argmax())
    weight = box.module[1].weight.detach()  # type: ignore[index]  # flatten, dense
    against = (weight[1 - top] - weight[top]).view(3, 8, 8).sign()
    margins = {
        reach: float((box.logits((image + reach * against)[None])[0] @ torch.tensor([1.0, -1.0]).double()).detach())
        for reach in (0.001, 0.3)
    }
    for reach, margin in margins.items():
        still = (margin > 0) == (top == 0)
        assert value(f"accuracy/pgd?epsilon={reach}", Case(box, image, top, torch.zeros(8, 8))) == float(still)
    assert len({margin > 0 for margin in margins.values()}) == 2


def test_wrong_settings_are_named() -> None:
    """Before any pass."""
    with pytest.raises(SettingError, match="epsilon, got -1"):
        specs.make_measure("accuracy/pgd?epsilon=-1")
