"""Shrink: a failing tree made smaller as long as it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fuzzing.tree import Misfit, Node, leaf, rebuilt, walk

_TRIES = 200


def smaller(root: Node) -> Iterator[Node]:
    """Trees with one operation less: a node in the place of a larger one."""
    for node in reversed(list(walk(root))):
        if not node.parts:
            continue
        for other in (*node.parts, leaf("x")):
            if other.op == "number" or (other.shape != node.shape and node is not root):
                continue
            if node is root and other.op == "leaf":
                continue
            try:
                yield rebuilt(root, node, other)
            except Misfit:
                continue


def shrunk(root: Node, fails: Callable[[Node], bool]) -> Node:
    """The smallest tree that is found to fail still."""
    tries = 0
    again = True
    while again:
        again = False
        for other in smaller(root):
            tries += 1
            if tries > _TRIES:
                return root
            if len(list(walk(other))) < len(list(walk(root))) and fails(other):
                root, again = other, True
                break
    return root
