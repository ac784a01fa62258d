"""Predict the expression of a panel from tiles. Train on all parts of a split except one.

python examples/regression.py RESULTS SPLIT PANEL TEST_PART
"""

import sys

import torch
from st1k4m import Collection
from torch import nn


class Scale(nn.Module):
    """Scale uint8 tiles to the range -1 to 1."""

    def forward(self, tile):  # noqa: D102
        return tile.float() / 127.5 - 1


def correlate(model, pairs):
    """Return the Pearson correlation of each gene over all pairs, (genes,)."""
    model.eval()
    with torch.no_grad():
        batches = list(pairs.loader(batch_size=256, shuffle=False))
        x = torch.cat([model(batch["tile"]) for batch in batches])
    y = torch.cat([batch["expression"] for batch in batches])
    x, y = x - x.mean(0), y - y.mean(0)
    return (x * y).sum(0) / (x.norm(dim=0) * y.norm(dim=0)).clamp(min=1e-9)


def main(results, split, panel, test_part, epochs=5):  # noqa: D103
    torch.manual_seed(0)
    collection = Collection(results)
    parts = set(collection.split(split)["part"]) - {test_part}
    train = collection.pairs(split, parts, panel, size=32)
    test = collection.pairs(split, test_part, panel, size=32)
    model = nn.Sequential(
        *(Scale(), nn.Conv2d(3, 16, 5, stride=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(32, len(train.genes)),
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = train.loader(batch_size=64, weight="slide", seed=0)
    for epoch in range(epochs):
        for batch in loader:
            error = (model(batch["tile"]) - batch["expression"]).square()
            loss = error[batch["present"]].mean()  # a gene that was not measured is not zero
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")
    score = correlate(model, test).mean().item()
    print(f"mean Pearson correlation on part {test_part}: {score:.3f}")
    return score


if __name__ == "__main__":
    main(*sys.argv[1:])
