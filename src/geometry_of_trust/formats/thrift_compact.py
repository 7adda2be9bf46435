"""Thrift's compact protocol, read: what the headers of a Parquet file are written in.

Work and memory follow the bytes given: nothing is reserved on a header's word. Structures are dicts
by the number of the field, strings are bytes. The protocol: thrift-compact-protocol.md of Thrift.
"""

from __future__ import annotations

from collections.abc import Mapping

Value = int | float | bytes | list["Value"] | dict[int, "Value"]
Struct = Mapping[int, Value]

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_MAX_DEPTH = 16
_LONG_VARINT = 70
_MORE, _SHORT = 0x80, 15


class CompactReader:
    """Values of `data` from byte `at` on; `at` is behind what was read last."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at
        # A structure takes more memory than its bytes. Those of Parquet have several fields.
        self._structs_left = 1024 + len(data) // 4

    def struct(self) -> Struct:
        """The structure that begins here.

        Raises:
            EOFError: the data end before it does.
            ValueError: it is not of the protocol, has a map (Parquet has none) or a field twice, or
                is nested beyond 16.
        """
        try:
            return self._struct(0)
        except IndexError:
            raise EOFError("it is cut off") from None

    def _struct(self, depth: int) -> dict[int, Value]:
        self._structs_left -= 1
        if depth > _MAX_DEPTH or self._structs_left < 0:
            raise ValueError("structures in structures, or too many")
        fields: dict[int, Value] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            if number in fields:
                raise ValueError("a field that stands twice")
            kind = head & _SHORT
            if kind in _INTEGERS:
                fields[number] = self._integer()
            elif kind in (_TRUE, _FALSE):
                fields[number] = int(kind == _TRUE)
            else:
                fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Value:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self._struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind in (_TRUE, _FALSE, _BYTE):  # in a list each truth value has a byte
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ValueError("a type of value that is not used")

    def _list(self, depth: int) -> list[Value]:
        head = self._byte()
        size = head >> 4
        if size == _SHORT:
            size = self._varint()
        if size > len(self._data) - self.at:  # each takes a byte at least
            raise IndexError
        if depth > _MAX_DEPTH:
            raise ValueError("lists in lists")
        return [self._value(head & _SHORT, depth) for _ in range(size)]

    def _bytes(self, size: int) -> bytes:
        data = self._data[self.at : self.at + size]
        if len(data) < size:
            raise IndexError
        self.at += size
        return data

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _varint(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        value = byte & ~_MORE
        shift = 7
        while byte & _MORE:
            if shift >= _LONG_VARINT:
                raise ValueError("a number of more than 64 bits")
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & ~_MORE) << shift
            shift += 7
        return value

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
