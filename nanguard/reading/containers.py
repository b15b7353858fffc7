"""Containers: lists and tables whose items are known, after something was put in or taken out."""

from __future__ import annotations

from collections.abc import Sequence

from nanguard.reading.values import (
    External,
    Items,
    Many,
    Table,
    Value,
    chosen,
    either,
    is_called,
    is_option,
    known,
    opaque,
)
from nanguard.term import Term

FEW = 4  # known items of a list that a comprehension is read over one by one
MAX_ITEMS = 1_000  # of a list or table that are told apart; what a longer literal holds beyond is not read


def entry(table: Table, key: Value) -> Value:
    """An item of a table: that of the key, or, of a table with an item for each dtype, that of float32.

    One of all items where the key is not known.
    """
    if isinstance(key, External):
        return table.items.get(key.name, opaque("item"))
    constant = known(key)
    if constant is not None:
        return table.items.get(constant.value, opaque("item"))
    if "torch.float32" in table.items:
        return table.items["torch.float32"]
    default = key.attr("default") if isinstance(key, Term) and is_option(key) else None
    if default is not None and default in table.items:
        return table.items[default]
    if table.items and all(map(is_called, table.items.values())):
        return chosen(table.items.values())
    numbers = [value for value in table.items.values() if isinstance(value, Term) and value.op == "const"]
    return either(list(numbers)) if numbers and len(numbers) == len(table.items) <= FEW else opaque("item")


def extended(held: Items | Many, method: str, args: Sequence[Value]) -> Items | Many:
    """A list after a method that puts something in."""
    match method, args:
        case "append", [added]:
            new = Items((added,))
        case "insert", [_, added]:
            return joined_lists(held, Many(added))
        case "extend", [Items() | Many() as new]:
            pass
        case _:
            return held
    return joined_lists(held, new)


def joined_lists(first: Items | Many, second: Items | Many) -> Items | Many:
    """One list after the other."""
    if isinstance(first, Items) and isinstance(second, Items) and len(first.items) + len(second.items) <= MAX_ITEMS:
        return Items(first.items + second.items)
    items = [part for value in (first, second) for part in (value.items if isinstance(value, Items) else [value.item])]
    return Many(either(items), second.items[-1] if isinstance(second, Items) and second.items else None)


def with_item(held: Items | Many, key: Term | None, value: Value) -> Items | Many:
    """A list after one of its items was set."""
    index = key.value if key is not None else None
    if isinstance(held, Items) and isinstance(index, int) and -len(held.items) <= index < len(held.items):
        items = list(held.items)
        items[index] = value
        return Items(tuple(items))
    return joined_lists(held, Many(value))
