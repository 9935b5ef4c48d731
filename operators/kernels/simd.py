"""Vector instructions and wide multiplication for numba kernels: what plain loops do not reach.

LLVM lowers the 64-byte vectors to whatever the CPU has (SSE2, AVX2, AVX-512, NEON). Blocks and words
are read without bounds checks: the caller sees to it that LANES (or 8) bytes are there.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir

from operators.kernels.kept_code import Instruction, types

LANES = 64  # bytes in a block: one bit each in a mask of 64

if sys.byteorder != "little":
    raise ImportError("tamis' kernels read text as little-endian words; this machine is big-endian")

_BYTE, _WORD, _WIDE = ir.IntType(8), ir.IntType(64), ir.IntType(128)
_BLOCK = ir.VectorType(_BYTE, LANES)
_LANE = ir.VectorType(ir.IntType(32), LANES)


def intrinsic(define: Any) -> Any:
    """What numba.extending.intrinsic makes, made when it is first compiled into a kernel."""
    return Instruction(define)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any, pointee: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), pointee.as_pointer())


def _load(context: Any, builder: Any, signature: Any, args: Any, pointee: Any) -> Any:
    loaded = builder.load(_address(context, builder, signature.args[0], args[0], args[1], pointee))
    loaded.align = 1
    return loaded


def _all(byte: int) -> Any:
    return ir.Constant(_BLOCK, [byte] * LANES)


def _spread(builder: Any, byte: Any) -> Any:
    """A block that holds the byte in every lane."""
    nothing = ir.Constant(_BLOCK, ir.Undefined)
    first = builder.insert_element(nothing, byte, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_LANE, [0] * LANES))


def _between(builder: Any, block: Any, first: int, count: int) -> Any:
    """255 in each lane whose byte is one of `count` from `first` on, else 0."""
    bits = builder.icmp_unsigned("<", builder.sub(block, _all(first)), _all(count))
    return builder.sext(bits, _BLOCK)


@intrinsic
def fold_block(
    typing_context: Any, source: Any, i: Any, out: Any, at: Any, fold: Any, zero: Any, punctuation: Any
) -> Any:
    """Writes the ASCII word bytes of source[i:i+64] to out[at:at+64], lower-cased if fold is 255, and
    0 for every other byte. Returns the bits of the bytes that this is not right for: those beyond
    ASCII; digits, if zero is 255; what is neither word nor white space, if punctuation is 255."""
    index, flag = types.uint64, types.uint8
    signature = types.uint64(source, index, out, index, flag, flag, flag)

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        block = _load(context, b, signature, args, _BLOCK)
        fold, zero, punctuation = (_spread(b, flag) for flag in args[4:])
        case = b.and_(_between(b, block, ord("A"), 26), _all(32))
        digit = _between(b, block, ord("0"), 10)
        underscore = b.sext(b.icmp_unsigned("==", block, _all(ord("_"))), _BLOCK)
        letter = _between(b, b.or_(block, _all(32)), ord("a"), 26)
        word = b.or_(b.or_(letter, digit), underscore)
        folded = b.and_(b.or_(block, b.and_(case, fold)), word)
        store = b.store(folded, _address(context, b, signature.args[2], args[2], args[3], _BLOCK))
        store.align = 1
        space = b.or_(_between(b, block, 9, 5), _between(b, block, 28, 5))
        other = b.and_(b.not_(b.or_(word, space)), punctuation)
        special = b.or_(b.or_(block, other), b.and_(digit, zero))
        return b.bitcast(b.icmp_signed("<", special, _all(0)), _WORD)

    return signature, codegen


@intrinsic
def nonzero_block(typing_context: Any, source: Any, i: Any) -> Any:
    """The bits of the bytes of source[i:i+64] that are not 0, uint64."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        block = _load(context, b, signature, args, _BLOCK)
        return b.bitcast(b.icmp_unsigned("!=", block, _all(0)), _WORD)

    return types.uint64(source, types.uint64), codegen


@intrinsic
def eight_bytes(typing_context: Any, source: Any, i: Any) -> Any:
    """source[i:i+8] as one uint64, the first byte lowest."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return _load(context, b, signature, args, _WORD)

    return types.uint64(source, types.uint64), codegen


@intrinsic
def fold_product(typing_context: Any, x: Any, y: Any) -> Any:
    """The low half of the 128-bit product of two uint64, xor its high half (Wang Yi, wyhash)."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        product = b.mul(b.zext(args[0], _WIDE), b.zext(args[1], _WIDE))
        high = b.lshr(product, ir.Constant(_WIDE, 64))
        return b.xor(b.trunc(product, _WORD), b.trunc(high, _WORD))

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def first_bit(typing_context: Any, x: Any) -> Any:
    """The place of the lowest bit that is set in a uint64, 64 where none is."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@intrinsic
def bit_count(typing_context: Any, x: Any) -> Any:
    """How many bits of a uint64 are set."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.ctpop(args[0])

    return types.uint64(types.uint64), codegen
