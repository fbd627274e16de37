"""click's type of an argument, with the type of its values, which click before 8.5 does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click import ParamType as ParamType
else:

    class ParamType(click.ParamType):
        """click's, whatever its version."""

        def __class_getitem__(cls, _: object) -> type:
            return cls
