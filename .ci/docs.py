#!/usr/bin/env python3
"""Runs the commands of docs/REPORTS.md and docs/TUTORIAL.md as they stand there.

Blocks of ```sh are run in order by bash, blocks of ```python and ```sql by this interpreter, each document in an empty
folder of its own. What a reader has and CI has not is played by small programs in front of the PATH: `aws` prints the
bundled scenario's rules, `tcpdump` "captures" its trace, and `ctbench` measures for half a second instead of ten.
"""
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
WEB = ROOT / "traces" / "web"
CTBENCH = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release" / "ctbench"

STANDINS = {
    "aws": f"""
        case "$2" in
            describe-security-groups) cat {WEB}/security-groups.json ;;
            describe-network-acls) cat {WEB}/network-acls.json ;;
            *) echo "aws $*: not played" >&2; exit 1 ;;
        esac""",
    "tcpdump": f"""
        while [ $# -gt 0 ]; do [ "$1" = -w ] && exec cp {WEB}/trace.pcap "$2"; shift; done
        exit 1""",
    "sudo": 'exec "$@"',
    "ctbench": f"""
        case " $* " in
            " compare "*" --time "*|" search "*|" sweep "*) exec {CTBENCH} "$@" ;;
            " compare "*|" replay "*) exec {CTBENCH} "$@" --time 0.5 --quiet ;;
            *) exec {CTBENCH} "$@" ;;
        esac""",
}


def blocks(document):
    """Language and text of every block that is run, with the line it begins in."""
    text = document.read_text()
    for match in re.finditer(r"^```(sh|python|sql)\n(.*?)^```$", text, re.S | re.M):
        yield match[1], match[2], text[: match.start()].count("\n") + 1


def run(language, text, folder, path, with_libraries):
    """Runs a block; returns what it printed."""
    if language == "sh":
        command = ["bash", "-euo", "pipefail", "-c", text]
    elif not with_libraries:
        return None
    elif language == "python":
        command = [sys.executable, "-c", text]
    else:
        show = "import duckdb, sys\nfor one in sys.argv[1].split(';'):\n    if one.strip(): duckdb.sql(one).show()"
        command = [sys.executable, "-c", show, text]
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120
    )
    if done.returncode != 0:
        raise SystemExit(f"exit code {done.returncode} of\n{textwrap.indent(text, '    ')}{done.stdout}")
    return done.stdout


def main():
    try:
        import duckdb, hdrh, pandas  # noqa: F401

        with_libraries = True
    except ImportError as error:
        with_libraries = False
        print(f"SKIPPED: the blocks of SQL and Python, for {error}")
    verbose = "--verbose" in sys.argv
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / "bin"
        path.mkdir()
        for name, script in STANDINS.items():
            program = path / name
            program.write_text(f"#!/bin/sh\n{textwrap.dedent(script).strip()}\n")
            program.chmod(program.stat().st_mode | stat.S_IEXEC)
        for name in ["REPORTS.md", "TUTORIAL.md"]:
            folder = pathlib.Path(temporary) / name
            folder.mkdir()
            # A scenario of this repository may be named as in a checkout.
            (folder / "traces").symlink_to(ROOT / "traces")
            ran = 0
            for language, text, line in blocks(ROOT / "docs" / name):
                if verbose:
                    print(f"-- docs/{name}:{line}")
                printed = run(language, text, folder, path, with_libraries)
                ran += printed is not None
                if verbose and printed:
                    print(textwrap.indent(printed, "   "))
                if printed == "" and language != "sh":
                    raise SystemExit(f"docs/{name}:{line} prints nothing")
            if ran == 0:
                raise SystemExit(f"docs/{name} has no block that was run")
            print(f"docs/{name}: {ran} blocks run")


if __name__ == "__main__":
    main()
