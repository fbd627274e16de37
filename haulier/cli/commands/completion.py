"""`haulier completion`: what a shell reads to complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from haulier.cli.parts.invocation import Invocation, command, pass_invocation

SHELLS = ("bash", "zsh", "fish")


@command("completion", example="haulier completion bash")
@click.argument("shell", type=click.Choice(SHELLS))
@pass_invocation
def completion(invocation: Invocation, shell: str) -> None:
    """Print the completion script for your shell.

    bash: eval "$(haulier completion bash)" in ~/.bashrc. zsh: the same in ~/.zshrc, after compinit. fish: haulier
    completion fish > ~/.config/fish/completions/haulier.fish
    """
    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None
    # source() of bash asks which bash there is, to warn; the reader may be on another machine.
    made = kind(root, {}, "haulier", "_HAULIER_COMPLETE")
    invocation.terminal.raw(made.source_template % made.source_vars() + "\n")
