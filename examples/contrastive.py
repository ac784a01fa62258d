"""Map tiles and expression into one space, as CLIP does; a killed run continues where it was.

python examples/contrastive.py RESULTS SPLIT PANEL TEST_PART
"""

import sys
from pathlib import Path

import torch
from st1k4m import Collection
from torch import nn
from torch.nn.functional import cross_entropy, normalize


class Towers(nn.Module):  # noqa: D101
    def __init__(self, genes, width=32):
        super().__init__()
        layers = nn.Conv2d(3, 32, 7, stride=3), nn.BatchNorm2d(32), nn.ReLU()
        pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, width)
        self.image = nn.Sequential(*layers, *pooled)
        self.genes = nn.Linear(genes, width)
        self.scale = nn.Parameter(torch.tensor(2.7))  # log of 1 / 0.07

    def forward(self, batch):
        """Return the similarity of each tile and each expression, (n, n) float32."""
        tiles = normalize(self.image(batch["tile"].float() / 127.5 - 1), dim=1)
        genes = normalize(self.genes(batch["expression"] * batch["present"]), dim=1)
        return self.scale.exp() * tiles @ genes.T


def main(results, split, panel, test_part, epochs=5, saved="contrastive.pt"):  # noqa: D103
    torch.manual_seed(0)
    collection = Collection(results)
    parts = set(collection.split(split)["part"]) - {test_part}
    train = collection.pairs(split, parts, panel, size=32)
    model = Towers(len(train.genes))
    loader = train.loader(batch_size=64, drop_last=True, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    if Path(saved).exists():
        for each, state in zip((model, optimiser, loader), torch.load(saved), strict=True):
            each.load_state_dict(state)
    while loader.epoch < epochs:
        for batch in loader:
            alike, own = model(batch), torch.arange(len(batch["index"]))
            loss = cross_entropy(alike, own) + cross_entropy(alike.T, own)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        torch.save([each.state_dict() for each in (model, optimiser, loader)], saved)
    test = collection.pairs(split, test_part, panel, size=32).loader(batch_size=64, seed=0)
    rank = model.eval()(next(iter(test))).argsort(1, descending=True).argsort(1).diagonal()
    recall = (rank < 10).float().mean().item()
    print(f"{recall:.0%} of {len(rank)} tiles have their expression among the nearest 10")
    return recall


if __name__ == "__main__":
    main(*sys.argv[1:])
