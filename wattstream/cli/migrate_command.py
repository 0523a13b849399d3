"""`wattstream migrate`: brings the database schema up to date."""

import json
import sys

import click
import psycopg

from wattstream import instances, migrate

_OUT_OF_REACH = 3


@click.command(
    epilog="Exit codes: 0 the schema is up to date; 1 it cannot be migrated; 2 wrong usage; 3 the database is away."
    " The database is found by --dsn, else by WATTSTREAM_POSTGRES_DSN, else it is the one that `wattstream up` runs"
    " on this machine."
)
@click.option("--dsn", envvar="WATTSTREAM_POSTGRES_DSN", show_envvar=True, help="The database.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(dsn: str | None, as_json: bool) -> None:
    """Bring the database schema up to date.

    Each migration is one transaction; two at once take turns; run again, nothing is left to do.
    """
    applied = []
    try:
        for step in migrate.migrate(dsn or _running_dsn()):
            applied.append(step)
            if not as_json:
                click.echo(f"applied {step.version:04} {step.name}")
    except psycopg.OperationalError as error:
        click.echo(f"Error: the database cannot be reached: {_one_line(error)}", err=True)
        sys.exit(_OUT_OF_REACH)
    except (migrate.SchemaError, psycopg.Error) as error:
        raise click.ClickException(_one_line(error)) from None
    version = migrate.migrations()[-1].version
    if as_json:
        click.echo(json.dumps({"version": version, "applied": [f"{step.version:04} {step.name}" for step in applied]}))
    else:
        click.echo(f"the schema is at version {version}")


def _running_dsn() -> str:
    found = instances.running()
    if not found:
        raise click.UsageError("which database? Name it with --dsn or WATTSTREAM_POSTGRES_DSN, or run `wattstream up`")
    if len(found) > 1:
        folders = ", ".join(str(instance.data_dir) for instance in found)
        raise click.UsageError(f"several instances run here ({folders}); name a database with --dsn")
    return found[0].postgres


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
