"""What a processor does to sixty-four counters at once, for kernels that numba has no words for.

Each function is a few instructions of LLVM, which become AVX-512, AVX2 or NEON, whatever there is. They check no
bounds.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 64
"""Counters that one word of bits is about."""
INT32, INT64, BIT, BYTES = ir.IntType(32), ir.IntType(64), ir.IntType(1), ir.IntType(8).as_pointer()


def _repeated(builder: Any, vector: Any, value: Any) -> Any:
    """A vector whose every element is `value`."""
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))


def _reach(
    _typing: Any, counters: Any, _place: Any, planes: Any, _at: Any, _stride: Any, _depth: Any, _threshold: Any
) -> Any:
    """Which of 64 sums reach a threshold.

    The i-th sum is `counters[place + i]` and, of `depth` words from `planes[at]` on, each `stride` after the one
    before, the number that their i-th bits make, lowest first. Sums must fit the counters' type.

    Returns:
        uint64 whose bit i is set where the i-th sum is `threshold` or more.
    """
    element = counters.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, words, word, step, count, least = arguments
        vector = ir.VectorType(ir.IntType(element.bitwidth), LANES)
        data = context.make_array(signature.args[0])(context, builder, array).data
        loaded = builder.load(builder.bitcast(builder.gep(data, [first]), vector.as_pointer()))
        loaded.align = element.bitwidth // 8
        sums = cgutils.alloca_once_value(builder, loaded)  # type: ignore[no-untyped-call]
        ones = ir.Constant(vector, [1] * LANES)
        worth = cgutils.alloca_once_value(builder, ones)  # type: ignore[no-untyped-call]
        bits = context.make_array(signature.args[2])(context, builder, words).data
        with cgutils.for_range(builder, count) as loop:
            plane = builder.load(builder.gep(bits, [builder.add(word, builder.mul(loop.index, step))]))
            chosen = builder.bitcast(plane, ir.VectorType(BIT, LANES))
            amount = builder.load(worth)
            added = builder.select(chosen, amount, ir.Constant(vector, [0] * LANES))
            builder.store(builder.add(builder.load(sums), added), sums)
            builder.store(builder.add(amount, amount), worth)
        high = builder.icmp_unsigned(">=", builder.load(sums), _repeated(builder, vector, least))
        return builder.bitcast(high, INT64)

    signature = types.uint64(counters, types.int64, planes, types.int64, types.int64, types.int64, element)
    return signature, generate


def _lowest_bit(_typing: Any, _word: Any) -> Any:
    """The number, int64, of the lowest bit that is set in a uint64 which is not 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(BIT, 1))

    return types.int64(types.uint64), generate


def _prefetch(_typing: Any, values: Any, _place: Any) -> Any:
    """Asks the processor to bring `values[place]` near, and does not wait; any place will do, past the end too."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        address = builder.bitcast(builder.gep(data, [place]), BYTES)
        wanted = ir.FunctionType(ir.VoidType(), [BYTES, INT32, INT32, INT32])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [BYTES], wanted)
        # to read, to be kept near, data
        builder.call(fetch, [address, ir.Constant(INT32, 0), ir.Constant(INT32, 3), ir.Constant(INT32, 1)])
        return context.get_dummy_value()

    return types.void(values, types.uint64), generate


# called without what numba passes first, the context of typing, which a type checker can't know
reach: Any = intrinsic(_reach)
lowest_bit: Any = intrinsic(_lowest_bit)
prefetch: Any = intrinsic(_prefetch)
