"""The rows of peer_torch.py, and those that calor adds."""

import sys

import peer_torch as peer
import peerbench as pb
import torch
from torch import nn


class Net(nn.Module):
    """32 sequences of 32 steps of 64 numbers, an LSTM of 128, and a class of 10 by its last state."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(64, 128, batch_first=True)
        self.head = nn.Linear(128, 10)
        scale = pb.fan_scale(128)

        def gates(offset, *shape):
            return torch.cat([peer.data(100 + 4 * g + offset, shape, scale).t() for g in range(4)])

        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(gates(0, 64, 128))
            self.lstm.bias_ih_l0.copy_(gates(1, 128))
            self.lstm.weight_hh_l0.copy_(gates(2, 128, 128))
            self.lstm.bias_hh_l0.copy_(gates(3, 128))
            self.head.weight.copy_(peer.data(116, (128, 10), scale).t())
            self.head.bias.copy_(peer.data(117, (10,), scale))

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def train_lstm(row):
    flop = 3.0 * 2 * 32 * (32 * (64 + 128) * 512 + 128 * 10)
    peer.train(row, flop, Net(), peer.data(1, (32, 32, 64)), peer.indices(2, 32, 10))


ROWS = {**peer.ROWS, "train_lstm": train_lstm}

if __name__ == "__main__":
    names = [a for a in sys.argv[1:] if not a.startswith("--")]
    if names in ([], ["list"]):
        print("\n".join(ROWS))
    else:
        ROWS[names[0]](names[0])
