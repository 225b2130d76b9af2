from __future__ import annotations

from flows.commands.command import commands


def test_commands_are_found_in_the_order_of_their_places():
    found = commands()
    names = [command.name or command.run.__name__ for command in found]
    assert names[:4] == ["init", "check", "show", "run"]
    assert names[-1] == "store"
    assert len({command.place for command in found}) == len(found)
