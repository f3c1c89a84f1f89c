"""RNN, GRU, LSTM and their cells in torch's form, run by the kernels of Recurra: in place of torch.nn's.

It knows torch's contract and the kernels, and nothing of tasks.
"""

from recurra.nn.cells import GRUCell, LSTMCell, RNNCell
from recurra.nn.modules import GRU, LSTM, RNN
from recurra.nn.options import Options
from recurra.nn.swapping import convert, revert

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "Options", "RNNCell", "convert", "revert"]
