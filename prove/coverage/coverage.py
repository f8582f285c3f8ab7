#!/usr/bin/env python3
"""Which branches of the code that decides about records the tests take both ways. Writes docs/COVERAGE.md; fails where a branch is never taken one way
and exceptions.txt gives no reason, and where that file names a branch that is taken.

    coverage.py  builds with instrumentation, runs the gate of mutants/, writes the page

Branch coverage is not stable in Rust yet, so the compiler is told to pass for an unstable one; llvm-profdata and llvm-cov must be of its LLVM."""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXCEPTIONS = HERE / "exceptions.txt"
PAGE = ROOT / "docs" / "COVERAGE.md"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "coverage"
# Minutes of crash states, which take no branch that the others do not.
SKIPPED = ["--skip=pins::crashes_at", "--skip=pins::storage_calls", "--skip=pins::pins_are_made"]
SOURCES = ["recovery", "segment/scan.rs", "segment/head.rs", "segment/payload.rs", "manifest.rs", "protocol", "retention"]


def tool(name):
    """The LLVM tool that fits the compiler."""
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    major = re.search(r"LLVM version: (\d+)", version)[1]
    sysroot = subprocess.run(["rustc", "--print", "target-libdir"], check=True, capture_output=True, text=True).stdout.strip()
    for candidate in [f"{name}-{major}", str(pathlib.Path(sysroot).parent / "bin" / name)]:
        if shutil.which(candidate):
            return candidate
    sys.exit(f"{name} of LLVM {major} is missing: apt-get install llvm-{major}, or rustup component add llvm-tools")


def measured():
    """What llvm-cov says of the sources after one run of the gate."""
    profiles = TARGET / "profiles"
    shutil.rmtree(profiles, ignore_errors=True)
    profiles.mkdir(parents=True)
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(TARGET),
        "CARGO_INCREMENTAL": "0",
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": "-Cinstrument-coverage -Zcoverage-options=branch",
        "LLVM_PROFILE_FILE": str(profiles / "%m.profraw"),
    }
    command = ["cargo", "test", "--quiet", "--locked", "--package=wal-prove", "--test=mutation_gate", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    executables = [json.loads(line).get("executable") for line in built.splitlines()]
    gate = [executable for executable in executables if executable][-1]
    # What build scripts and macros left behind is not of the tests.
    for stale in profiles.iterdir():
        stale.unlink()
    tested = subprocess.run([gate, "--quiet", *SKIPPED], cwd=ROOT / "prove", env=environment, capture_output=True, text=True)
    if tested.returncode != 0:
        sys.exit(f"the tests fail:\n{tested.stdout[-4000:]}")
    merged = TARGET / "merged.profdata"
    subprocess.run([tool("llvm-profdata"), "merge", "-o", str(merged), *map(str, profiles.iterdir())], check=True)
    sources = [str(ROOT / "engine" / "src" / source) for source in SOURCES]
    exported = subprocess.run(
        [tool("llvm-cov"), "export", "--format=text", "-instr-profile", str(merged), gate, *sources], check=True, capture_output=True, text=True
    )
    return json.loads(exported.stdout)["data"][0]["files"]


def branches(files):
    """By file and place: how often the condition there held, and how often not; the instances of generic code added up."""
    found = collections.defaultdict(lambda: [0, 0])
    for file in files:
        name = os.path.relpath(file["filename"], ROOT)
        for line, column, end_line, end_column, held, failed, *_ in file["branches"]:
            counts = found[name, line, column, end_line, end_column]
            counts[0] += held
            counts[1] += failed
    return found


def condition(name, line, column, end_line, end_column):
    """The text of a condition, on one line."""
    lines = (ROOT / name).read_text().splitlines()[line - 1 : end_line]
    lines[-1] = lines[-1].encode()[: end_column - 1].decode()
    lines[0] = lines[0].encode()[column - 1 :].decode()
    return " ".join(" ".join(lines).split())


def exceptions():
    """Reasons, by file, condition and outcome: two lines and the reason, as that file's head says."""
    reasons = {}
    blocks = re.sub(r"(?m)^#.*\n", "", EXCEPTIONS.read_text()).strip().split("\n\n")
    for block in filter(None, blocks):
        where, text, reason = block.split("\n", 2)
        file, outcome = where.split(" never ")
        reasons[file.strip(), text.strip(), outcome.strip()] = " ".join(reason.split())
    return reasons


def main():
    reasons = exceptions()
    rows = collections.defaultdict(lambda: [0, 0, 0])
    listed, missing, unused = [], [], set(reasons)
    for (name, *place), counts in sorted(branches(measured()).items()):
        row = rows[name]
        row[0] += 1
        row[1] += min(counts) > 0
        for outcome, count in zip(("true", "false"), counts):
            if count == 0:
                key = (name, condition(name, *place), outcome)
                row[2] += 1
                unused.discard(key)
                (listed if key in reasons else missing).append((key, place[0]))
    total = [sum(row[field] for row in rows.values()) for field in range(3)]
    page = [
        "# Branches",
        "",
        "Conditions in the code that decides about records, and whether the tests saw each of them hold and fail. `make coverage` writes this page",
        "and fails where one is missing from the list of exceptions. A condition whose outcome a compiler already knows is not counted.",
        "",
        "| file | conditions | taken both ways | outcomes never seen |",
        "|---|---|---|---|",
    ]
    page += [f"| {name.removeprefix('engine/src/')} | {row[0]} | {row[1]} | {row[2]} |" for name, row in rows.items()]
    page += [f"| all | {total[0]} | {total[1]} | {total[2]} |", "", "## Exceptions", ""]
    for (name, text, outcome), line in listed:
        page += [f"- {name.removeprefix('engine/src/')}:{line}, `{text}` never {outcome}: {reasons[name, text, outcome]}"]
    if missing:
        page += ["", "## Never seen, and nobody has said why", ""]
        page += [f"- {name.removeprefix('engine/src/')}:{line}, `{text}` never {outcome}" for (name, text, outcome), line in missing]
    PAGE.write_text("\n".join(page) + "\n")
    for (name, text, outcome), line in missing:
        print(f"never {outcome}: {name}:{line} {text}")
    for name, text, outcome in unused:
        print(f"no such exception: {name}, {text} never {outcome}")
    print(f"branches: {total[1]} of {total[0]} conditions taken both ways, {len(listed)} exceptions with a reason, {len(missing)} without")
    print(f"tally: branches {2 * total[0] - total[2]} outcomes")
    if missing or unused:
        sys.exit(1)


if __name__ == "__main__":
    main()
