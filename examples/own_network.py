"""Explain a network of your own: three lines, no layer named. Run: `python examples/own_network.py`."""

from pathlib import Path

import torch
from torch import nn

import salience

net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))

box = salience.load(net, size=64, classes=["cat", "dog"])
why = salience.explain(box, picture, method="rise", budget=200)
why.plot().savefig(Path("own_network.png"))

print(why)
