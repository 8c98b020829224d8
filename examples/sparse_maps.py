"""Your own training loop, with sparser saliency maps: one line of it changes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import salience
from salience import specs
from salience.trainers.plain import Plain
from salience.trainers.scaat import Scaat

data = specs.open_data("shapes:plain?count=60&size=24")  # drawn scenes; yours come from a DataLoader
pictures = torch.stack([torch.from_numpy(each.picture).permute(2, 0, 1).float() / 255 for each in data])
labels = torch.tensor([("red", "green", "blue").index(each.labels[0]) for each in data])


def trained(loss_of: Callable[..., Tensor]) -> nn.Module:
    """Train a network from the same beginning."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(288, 3))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        loss = loss_of(net, pictures, labels)  # was: functional.cross_entropy(net(pictures), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


for name, loss_of in {"plain": Plain(), "scaat": Scaat(epsilon=0.1)}.items():
    box = salience.load(trained(loss_of), size=24, classes=["red", "green", "blue"])
    why = salience.explain(box, pictures[0], "gradient")
    figure = salience.measure(box, why, ["sparsity/gini"])[0]
    print(f"{name}: {why.target.name} Gini index {figure.value:.3f}, {why.passes} passes")
