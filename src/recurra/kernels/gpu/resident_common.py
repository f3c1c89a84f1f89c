"""What the kernels share whose weights stay in a program: products and operands, meetings in two halves, rows of a step."""

# (constants of compilation are their values)
# pyright: reportArgumentType=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def arrive(counters, MEET: tl.constexpr):
    """Say that this part has written what the others wait for. What they need not wait for is best written after it.

    The barrier of the program's threads orders their writes before the release of one of them, which passes them on to
    whoever acquires the counter after it (PTX memory model: causality order goes through barriers).
    """
    if MEET:
        tl.debug_barrier()
        tl.atomic_add(counters + tl.program_id(0), 1, sem="release", scope="gpu")


@triton.jit
def wait(counters, times, PARTS, MEET: tl.constexpr):
    """Until every part of this block has arrived `times` times.

    One thread looks, since all of them would be in the way of those who arrive; it acquires what was released, and the
    barrier passes that on. What others wrote is read from the second level of cache (".cg"), since the first one belongs to
    one multiprocessor.
    """
    if MEET:
        counter = (counters + tl.program_id(0)).to(tl.int64)
        # (of 64 bits, since a long sequence has more meetings than 32 bits count)
        all_came = PARTS.to(tl.int64) * times
        while _acquired(counter) < all_came:
            pass
        tl.debug_barrier()


@triton.jit
def _acquired(counter):
    """What the counter says to the first thread; to others more than anyone waits for."""
    return tl.inline_asm_elementwise(
        """{
        .reg .pred first;
        .reg .u32 thread;
        mov.u32 thread, %tid.x;
        setp.eq.u32 first, thread, 0;
        mov.b64 $0, 0x7fffffffffffffff;
        @first ld.acquire.gpu.global.b64 $0, [$1];
        }""",
        "=&l,l",
        [counter],
        dtype=tl.int64,
        is_pure=False,
        pack=1,
    )


@triton.jit
def row_ends(lengths, rows, there, T):
    """The steps that each row takes: never more than there are, since what lies behind them would be read."""
    ends = rows * 0 + T
    if lengths is not None:
        ends = tl.minimum(tl.load(lengths + rows, mask=there, other=0), ends)
    return ends


@triton.jit
def going_on(resets, alive, at):
    """Which of the rows that take part in a step go on from their state; at is the place of (step, row)."""
    goes_on = alive
    if resets is not None:
        goes_on = alive & (tl.load(resets + at, mask=alive, other=1) == 0)
    return goes_on


@triton.jit
def operand(x, PRECISION: tl.constexpr, TO: tl.constexpr):
    """x as products take it: as it is, rounded to the nearest number of tf32, or in the 16 bits of TO."""
    if PRECISION == "tf32":
        exact = x.to(TO)
        bits = exact.to(tl.int32, bitcast=True)
        # (the NaN that a GPU makes has all bits set: a sum would carry into the sign and leave a zero)
        y = tl.where(exact == exact, ((bits + 0x1000) & -8192).to(tl.float32, bitcast=True), exact)
    else:
        y = x.to(TO)
    return y


@triton.jit
def mask_of_tf32(masks, HOLD: tl.constexpr, SPLIT: tl.constexpr):
    """The bits that a number of tf32 has, as a tile; read at each step where tiles are held (see there).

    From the first cache: a volatile load would have all programs ask one place of the second one. The compiler does not
    move a load out of a loop that writes.
    """
    place = tl.zeros((1, 1), dtype=tl.int32) if SPLIT == 1 else tl.zeros((1, 1, 1), dtype=tl.int32)
    return tl.load(masks + place) if HOLD else place - 8192


@triton.jit
def _same(x, besides, PACK: tl.constexpr):
    return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r,r", [x, besides], dtype=x.dtype, is_pure=True, pack=PACK)


@triton.jit
def held(tile, bits, HOLD: tl.constexpr):
    """The same tile, said to depend on the step, so that it is held in registers as products take it: the compiler would have
    it lie in shared memory, or take it apart before the loop, and for two halves there may be no registers.

    The moves vanish in the machine code. There are two, since what has one use alone is read where it is used.
    """
    y = tile
    if HOLD:
        if tile.dtype.primitive_bitwidth == 16:
            y = _same(_same(tile, bits.to(tl.int16), 2), tile, 2)
        else:
            y = _same(_same(tile, bits, 1), tile, 1)
    return y


@triton.jit
def _leading(x, bits):
    return (x.to(tl.int32, bitcast=True) & bits).to(tl.float32, bitcast=True)


@triton.jit
def add_product(total, x, w, bits, PRECISION: tl.constexpr, ACC: tl.constexpr):
    """total + x w, both of them as `operand` makes them; axes before the last two stay apart.

    "tf32x3" takes both apart into their leading bits and what these leave, which is exact; what is left out, the product of
    what they leave and bits that a device cuts off, is at most 2^-19 of it. Where warps share the columns the three products
    have sums of their own: Triton gives dots that follow one another a layout in which every warp does the same work. Where
    they share the depth one sum leaves more registers.
    """
    if PRECISION == "tf32x3":
        x_high, w_high = _leading(x, -8192), _leading(w, bits)
        x_low, w_low = x - x_high, w - w_high
        # (an infinite state is all in what meets leading bits, since it would meet zeros; weights are taken to be finite)
        is_finite = x_low == x_low
        x_low, x_high = tl.where(is_finite, x_low, x), tl.where(is_finite, x_high, 0.0)
        if len(x.shape) == 3:
            total = tl.dot(x_low, w_high, total, input_precision="tf32")
            total = tl.dot(x_high, w_low, total, input_precision="tf32")
            total = tl.dot(x_high, w_high, total, input_precision="tf32")
        else:
            small = tl.dot(x_low, w_high, input_precision="tf32") + tl.dot(x_high, w_low, input_precision="tf32")
            total += small + tl.dot(x_high, w_high, input_precision="tf32")
    elif PRECISION == "tf32":
        total = tl.dot(x, w, total, input_precision="tf32")
    else:
        total = tl.dot(x, w, total, input_precision="ieee", out_dtype=ACC)
    return total


@triton.jit
def weights(pointers, inside, PRECISION: tl.constexpr, TO: tl.constexpr):
    """A tile of the weight as an operand, zeros where it has none."""
    return operand(tl.load(pointers, mask=inside, other=0.0), PRECISION, TO)


@triton.jit
def depth(chunk, K: tl.constexpr, SPLIT: tl.constexpr, AXIS: tl.constexpr):
    """The places along the axis that a product adds up, for the K of a chunk in SPLIT shares: axis AXIS of the last two."""
    if SPLIT == 1:
        k = chunk * K + tl.arange(0, K)
        k = k[:, None] if AXIS == 0 else k[None, :]
    else:
        share = chunk * K + tl.arange(0, SPLIT)[:, None, None] * (K // SPLIT)
        k = tl.arange(0, K // SPLIT)
        k = share + (k[None, :, None] if AXIS == 0 else k[None, None, :])
    return k


@triton.jit
def spread(sums, gate: tl.constexpr, R: tl.constexpr, U: tl.constexpr):
    """The columns of one gate, [R, U], of sums[R, gates U].

    A gather, where a view would do, for the sake of threads: a sum over warps leaves its result in all of them, and each
    would compute every unit.
    """
    columns = gate * U + tl.arange(0, U)[None, :] + tl.zeros((R, 1), dtype=tl.int32)
    return tl.gather(sums, columns, axis=1)
