"""What `RNN`, `GRU` and `LSTM` share: torch's arguments in, layer after layer through the kernels, torch's results out.

Constructor checks, initial weights, flat weights, pickling and representation are those of `torch.nn.RNNBase`. The classes
are no subclasses of torch's own RNN, GRU and LSTM, since `torch.compile` refuses whatever is an instance of those.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from recurra import kernels
from recurra.nn import calls, extras, precision, short
from recurra.nn.options import PLAIN, Options, take


class Sequence(nn.RNNBase):
    """A stack of recurrent layers over a whole sequence, in torch's form."""

    kernel: ClassVar[str]
    """Its name in the table of kernels."""
    options: Options = PLAIN
    """What torch does not have; the class's where nothing was asked for, as in a converted module."""

    def __init__(self, mode: str, *args: Any, **kwargs: Any) -> None:
        options = take(mode, self.kernel, kwargs, layers=True)
        if options is not PLAIN:
            self.options = options
        super().__init__(mode, *args, **kwargs)
        if options is not PLAIN:
            extras.add(self)
            self.reset_parameters()

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Any = None, resets: Tensor | None = None
    ) -> tuple[Any, Any]:
        """torch's arguments and results; `lengths` and `resets` are keywords that torch does not have.

        input[T, B, I] ([B, T, I] with batch_first, [T, I] without a batch, or a PackedSequence), hx[L*D, B, H] (an LSTM:
        (h, c)) or None for zeros -> outputs[T, B, D*H] in the form of the input, the last hx.
        lengths[B], whole numbers on any device or a list: row b has lengths[b] steps, which may be none; its outputs are
        zero afterwards, and its last state is the one after its last step (pytorch #25310, #80605, #149194).
        resets[T, B] ([B, T] with batch_first), bool: the row starts from zeros before this step is read.

        Raises torch's errors for what torch would refuse, `DataError` for wrong lengths or resets, `UsageError` for those
        together with a PackedSequence, which has lengths of its own.
        """
        if kernels.direct():
            done = short.run(self, input, hx, lengths, resets)
            if done is not None:
                return done
        outputs, hx, _ = calls.run(self, input, hx, lengths, resets, keep=False)
        return outputs, hx

    def trace(
        self, input: Any, hx: Any = None, *, lengths: Any = None, resets: Tensor | None = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        """What `forward` gives, and the inner values of every step by name, in the form of the outputs.

        "l0.z" of an RNN (the sum before its function); "l0.r", "l0.z", "l0.n", "l0.q" of a GRU; "l0.i", "l0.f", "l0.g",
        "l0.o", "l0.c" of an LSTM; "l0.outputs" of each; "l0_reverse.i" of the other direction (pytorch #31423, #8938).
        """
        return calls.run(self, input, hx, lengths, resets, keep=True)

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """torch's check, against the weights as they are now."""
        dtype = self.weight_ih_l0.dtype
        if input.dtype != dtype and precision.autocast_dtype(input.device) is None:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        dims = 3 if batch_sizes is None else 2
        if input.dim() != dims:
            raise RuntimeError(f"input must have {dims} dimensions, got {input.dim()}")
        if self.input_size != input.size(-1):
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
            )

    def reset_parameters(self) -> None:
        """torch's: uniform within 1/sqrt(H). What options add starts where it does nothing, the forget gate as asked."""
        if self.options.hidden_sizes is None:
            super().reset_parameters()
        extras.reset(self)

    def extra_repr(self) -> str:
        return super().extra_repr() + "".join(f", {name}={value}" for name, value in self.options.changed().items())
