"""The `wattstream` command: one module a subcommand, loaded when it is asked for."""

from importlib import import_module

import click

_COMMANDS = {
    "up": "Run everything on this machine: PostgreSQL, Valkey and the three services.",
    "demo": "Run everything, with a simulated fleet to look at.",
    "migrate": "Bring the database schema up to date.",
    "seed": "Load a small fleet with known figures: V1, V2 and M1.",
    "import": "Send readings from a CSV file.",
    "simulate": "Send the readings of a simulated fleet.",
    "performance": "Show what a vehicle consumed, delivered and lost.",
    "fleet": "Show what the fleet consumed, got and lost, and its worst vehicles.",
    "meter": "Show who used a meter when, and what became of its energy.",
    "alerts": "Show sustained drops of efficiency.",
    "acknowledge": "Note that somebody has seen an alert.",
    "rules": "Show or set when a drop is worth an alert.",
    "state": "Show the newest reading of a device.",
    "watch": "Show the newest readings as they change.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}_command").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wattstream")
def main() -> None:
    """Energy telemetry for EV fleets: readings in, live state and charging losses out."""
