#!/usr/bin/env python3
"""Drives cargo-mutants, keeps what became of each mutant in outcomes.tsv, and holds the survivors against equivalent.txt.

    mutants.py run [--shard K/N] [--minutes M] [--afresh]   judge what has no outcome yet; stop it and start it again at will
    mutants.py quick SECONDS                                what changed, the rules of the protocol, then a slice that turns with the commit
    mutants.py table                                        the counts; fails where a mutant survives without a proof or has no outcome

An outcome holds for the text of the function that it was found in: change the function, and its mutants are judged again."""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUTCOMES = HERE / "outcomes.tsv"
EQUIVALENT = HERE / "equivalent.txt"
COLUMNS = ["file", "function", "text", "place", "mutation", "outcome", "by"]
# So many between two writings of the table.
BATCH = 25
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
MUTANTS = ["cargo", "mutants", "--package=wal-engine"]
GATE = ["cargo", "test", "--quiet", "--locked", "--profile=mutants", "--package=wal-prove", "--test=mutation_gate"]
RUNNER = "--config=target.'cfg(unix)'.runner='prove/mutants/phases'"


class Mutant:
    """One change, known by the function that it is in, that function's text, and its place there: moving the function changes none of these."""

    def __init__(self, found):
        self.name = found["name"]
        self.file = found["file"]
        span = found["span"]["start"]
        lines = (ROOT / self.file).read_text().splitlines()
        self.line = lines[span["line"] - 1].strip()
        if found["function"]:
            self.function = found["function"]["function_name"]
            first, last = (found["function"]["span"][edge]["line"] for edge in ("start", "end"))
        else:
            self.function = "-"
            first = last = span["line"]
        self.text = hashlib.sha256("\n".join(lines[first - 1 : last]).encode()).hexdigest()[:10]
        self.place = f"{span['line'] - first}:{span['column']}"
        mutation = re.sub(r"^\S+:\d+:\d+: ", "", self.name)
        self.mutation = mutation.removesuffix(f" in {self.function}")

    @property
    def key(self):
        return (self.file, self.function, self.text, self.place, self.mutation)


def listed():
    """Every mutant of the source as it stands."""
    command = MUTANTS + ["--dir", str(ROOT), "--list", "--json"]
    return [Mutant(found) for found in json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)]


def recorded():
    """Outcomes and what brought them about, by mutant."""
    if not OUTCOMES.exists():
        return {}
    rows = [line.split("\t") for line in OUTCOMES.read_text().splitlines()[1:]]
    return {tuple(row[:5]): (row[5], row[6]) for row in rows}


def record(outcomes, mutants):
    """Writes the table in the order of the source, without what is no longer a mutant."""
    rows = [[*mutant.key, *outcomes[mutant.key]] for mutant in mutants if mutant.key in outcomes]
    scratch = OUTCOMES.with_suffix(".new")
    scratch.write_text("".join("\t".join(row) + "\n" for row in [COLUMNS, *rows]))
    scratch.replace(OUTCOMES)


def equivalents():
    """Proofs, by file, function, line and mutation: three lines and an empty one each, as that file's head says."""
    proofs = {}
    blocks = re.sub(r"(?m)^#.*\n", "", EQUIVALENT.read_text()).strip().split("\n\n")
    for block in filter(None, blocks):
        where, line, mutation, proof = block.split("\n", 3)
        file, function = where.split(maxsplit=1)
        proofs[file, function, line.strip(), mutation.strip()] = " ".join(proof.split())
    return proofs


def proof_key(mutant):
    return (mutant.file, mutant.function, mutant.line, mutant.mutation)


def copy_tree():
    """The workspace in a directory of its own, where cargo-mutants may change it and a build stays warm from one mutant to the next."""
    tree = TARGET / "mutants-tree"
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    files = {file for file in files if file and (ROOT / file).is_file()}
    for old in tree.rglob("*") if tree.exists() else []:
        if old.is_file() and str(old.relative_to(tree)) not in files:
            old.unlink()
    for file in files:
        source, target = ROOT / file, tree / file
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
    return tree


def environment():
    """One directory of build results for every batch, kept apart from other builds."""
    return {**os.environ, "CARGO_TARGET_DIR": str(TARGET), "CARGO_INCREMENTAL": "1", "CARGO_TERM_COLOR": "never"}


def check_gate(tree):
    """A gate that fails by itself would catch everything."""
    if subprocess.run([*GATE, RUNNER], cwd=tree, env=environment(), stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit("the tests fail without any mutant")


def killer(log):
    """The first test that failed, or the hang that the runner cut short."""
    found = re.search(r"^test (\S+) \.\.\. FAILED$|^killed by: (.*)$", log, re.MULTILINE)
    if found:
        return found[1] or found[2]
    return "the process died" if "signal:" in log or "SIG" in log else "?"


def judge(tree, batch):
    """Has cargo-mutants try some mutants; what became of them, by key."""
    output = tree.parent / "mutants-output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    names = [f"--re=^{re.escape(mutant.name)}$" for mutant in batch]
    limits = ["--in-place", "--baseline=skip", "--timeout=900", "--build-timeout=600", "--output", str(output), *names]
    done = subprocess.run(MUTANTS + limits, cwd=tree, env=environment(), capture_output=True, text=True)
    # 2: some were missed; 3: some took too long.
    if done.returncode not in (0, 2, 3):
        sys.exit(f"cargo mutants failed:\n{done.stdout}{done.stderr}")
    by_name = {mutant.name: mutant for mutant in batch}
    found = {}
    for outcome in json.loads((output / "mutants.out" / "outcomes.json").read_text())["outcomes"]:
        name = outcome["scenario"]["Mutant"]["name"]
        summary = {"CaughtMutant": "caught", "MissedMutant": "missed", "Unviable": "unviable", "Timeout": "timeout"}[outcome["summary"]]
        log = (output / "mutants.out" / outcome["log_path"]).read_text(errors="replace")
        found[by_name[name].key] = (summary, killer(log) if summary == "caught" else "")
    return found


def progress(mutants, outcomes):
    counts = collections.Counter(outcomes[mutant.key][0] if mutant.key in outcomes else "not tried" for mutant in mutants)
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def run(arguments):
    mutants, outcomes = listed(), recorded()
    nth, of = (int(part) for part in arguments.shard.split("/"))
    mine = mutants[nth - 1 :: of]
    pending = [mutant for mutant in mine if arguments.afresh or mutant.key not in outcomes]
    if not pending:
        print(f"nothing to try: {progress(mine, outcomes)}")
        return
    tree = copy_tree()
    check_gate(tree)
    start = time.monotonic()
    for first in range(0, len(pending), BATCH):
        if time.monotonic() - start > arguments.minutes * 60:
            break
        # Other shards may have written meanwhile.
        outcomes = recorded() | judge(tree, pending[first : first + BATCH])
        record(outcomes, mutants)
        print(f"{int(time.monotonic() - start):5} s  {progress(mine, outcomes)}", flush=True)


def quick(arguments):
    mutants, outcomes, proofs = listed(), recorded(), equivalents()
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    start = time.monotonic()

    def turn(mutant):
        is_known = mutant.key in outcomes
        is_rule = mutant.file.startswith("engine/src/protocol/")
        return not is_rule, is_known, hashlib.sha256((commit + repr(mutant.key)).encode()).digest()

    # What is known not to compile or to change nothing needs no second trial.
    worth = [m for m in mutants if proof_key(m) not in proofs and outcomes.get(m.key, ("",))[0] != "unviable"]
    worth.sort(key=turn)
    tree = copy_tree()
    check_gate(tree)
    found = {}
    size = 5
    for first in range(0, len(worth), size):
        if time.monotonic() - start > arguments.seconds:
            break
        found |= judge(tree, worth[first : first + size])
    tried = [mutant for mutant in worth if mutant.key in found]
    survivors = [mutant for mutant in tried if found[mutant.key][0] not in ("caught", "unviable")]
    # One that is not on record as caught is told of; one that was caught before, or is in the rules of the protocol, must not survive.
    was_caught = [mutant for mutant in survivors if outcomes.get(mutant.key, ("",))[0] == "caught"]
    missed = was_caught + [mutant for mutant in survivors if mutant.file.startswith("engine/src/protocol/") and mutant not in was_caught]
    for mutant in survivors:
        print(f"SURVIVES: {mutant.name}")
    changed = sum(mutant.key not in outcomes for mutant in mutants)
    print(f"mutants: {len(tried)} of {len(mutants)} tried again, {len(tried) - len(survivors)} caught; {changed} without an outcome on record")
    print(f"tally: mutants {len(tried)} mutants")
    if missed:
        sys.exit(1)


def table(_arguments):
    mutants, outcomes, proofs = listed(), recorded(), equivalents()
    counts = collections.defaultdict(collections.Counter)
    bad = []
    unused = set(proofs)
    for mutant in mutants:
        outcome = outcomes.get(mutant.key, ("not tried", ""))[0]
        unused.discard(proof_key(mutant))
        if outcome == "missed" and proof_key(mutant) in proofs:
            outcome = "equivalent"
        elif outcome not in ("caught", "unviable"):
            bad.append((outcome, mutant))
        counts[mutant.file][outcome] += 1
        counts["all"][outcome] += 1
    kinds = ["caught", "equivalent", "unviable", "timeout", "missed", "not tried"]
    kinds = [kind for kind in kinds if counts["all"][kind] or kind in ("caught", "equivalent", "unviable")]
    print("| file | mutants | " + " | ".join(kinds) + " |\n|---|" + "---|" * (len(kinds) + 1))
    for file, count in counts.items():
        print(f"| {file.removeprefix('engine/src/')} | {count.total()} | " + " | ".join(str(count[kind]) for kind in kinds) + " |")
    for outcome, mutant in bad:
        print(f"{outcome}: {mutant.name}")
    for key in unused:
        print(f"no such mutant: {key}")
    if bad or unused:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("--shard", default="1/1")
    run_parser.add_argument("--minutes", type=float, default=float("inf"))
    run_parser.add_argument("--afresh", action="store_true")
    run_parser.set_defaults(call=run)
    quick_parser = commands.add_parser("quick")
    quick_parser.add_argument("seconds", type=float)
    quick_parser.set_defaults(call=quick)
    commands.add_parser("table").set_defaults(call=table)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
