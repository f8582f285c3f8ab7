#!/usr/bin/env python3
"""Tries small mistakes in the code that decides about records, keeps what became of each in outcomes.tsv, and holds the survivors against
equivalent.txt.

    mutants.py run [--shard K/N] [--minutes M] [--afresh]   judge what has no outcome yet; stop it and start it again at will
    mutants.py quick SECONDS                                what changed, the rules of the protocol, then a slice that turns with the commit
    mutants.py table                                        the counts; fails where a mutant survives without a proof or has no outcome

cargo-mutants says which mistakes there are. weave/ puts all of them into one build, where each is chosen at run time; the few that cannot be chosen
so, in constants, are built one by one. An outcome holds for the text of the function that it was found in: change the function, and its mutants are
judged again. What is on record can be tried again without cargo-mutants."""

import argparse
import bisect
import collections
import concurrent.futures
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
GATE = ["--locked", "--profile=mutants", "--package=wal-prove", "--test=mutation_gate"]
WEAVE = HERE / "weave" / "Cargo.toml"
PHASES = HERE / "phases"


class Mutant:
    """One change, known by the function that it is in, that function's text, and its place there: moving the function changes none of these."""

    def __init__(self, key, first_line):
        self.key = key
        self.file, self.function, self.text, self.place, self.mutation = key
        line, self.column = map(int, self.place.split(":"))
        self.line_number = first_line + line
        self.line = source(self.file)[self.line_number - 1].strip()

    @property
    def name(self):
        return f"{self.file}:{self.line_number}:{self.column}: {self.mutation}" + (f" in {self.function}" if self.function != "-" else "")


def source(file, read={}):
    """Its lines."""
    if file not in read:
        read[file] = (ROOT / file).read_text().splitlines()
    return read[file]


def digest(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:10]


def has_cargo_mutants():
    return subprocess.run([*MUTANTS, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def listed():
    """Every mutant of the source as it stands."""
    command = [*MUTANTS, "--dir", str(ROOT), "--list", "--json"]
    mutants = []
    for found in json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout):
        start = found["span"]["start"]
        first = last = start["line"]
        function = "-"
        if found["function"]:
            function = found["function"]["function_name"]
            first, last = (found["function"]["span"][edge]["line"] for edge in ("start", "end"))
        mutation = re.sub(r"^\S+:\d+:\d+: ", "", found["name"]).removesuffix(f" in {function}")
        text = digest(source(found["file"])[first - 1 : last])
        mutants.append(Mutant((found["file"], function, text, f"{start['line'] - first}:{start['column']}", mutation), first))
    return mutants


def found_again(outcomes):
    """The mutants on record whose functions stand in the source as they stood then, and how many functions do not."""
    functions = collections.defaultdict(dict)
    for file in {key[0] for key in outcomes}:
        lines = source(file) if (ROOT / file).exists() else []
        ends = collections.defaultdict(list)
        for number, line in enumerate(lines):
            if line.strip() == "}":
                ends[len(line) - 1].append(number)
        # As rustfmt leaves it, a function ends with the first brace that stands as far in as its first line.
        for number, line in enumerate(lines):
            indent = len(line) - len(line.lstrip())
            last = bisect.bisect(ends[indent], number)
            if line.strip() and last < len(ends[indent]):
                functions[file][digest(lines[number : ends[indent][last] + 1])] = number + 1
    known = [key for key in outcomes if key[2] in functions[key[0]]]
    changed = {key[:3] for key in outcomes if key[1] != "-"} - {key[:3] for key in known}
    return [Mutant(key, functions[key[0]][key[2]]) for key in known], len(changed)


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


def copy_tree(name):
    """The workspace in a directory of its own, where it may be changed and a build stays warm from one time to the next."""
    tree = TARGET / name
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    files = {file for file in files if file and (ROOT / file).is_file()}
    for old in tree.rglob("*") if tree.exists() else []:
        if old.is_file() and str(old.relative_to(tree)) not in files:
            old.unlink()
    for file in files:
        original, target = ROOT / file, tree / file
        if not target.exists() or target.read_bytes() != original.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, target)
            shutil.copymode(original, target)
    return tree


def environment(**more):
    return {**os.environ, "CARGO_INCREMENTAL": "1", "CARGO_TERM_COLOR": "never", **more}


class Woven:
    """One build with all of `mutants` in it that can be chosen at run time."""

    def __init__(self, mutants):
        self.apart, self.unviable = [], []
        self.environment = environment(CARGO_TARGET_DIR=str(TARGET / "woven"))
        mutants = list(mutants)
        while True:
            self.tree = copy_tree("woven-tree")
            fates = self.weave(mutants)
            refused = self.refused()
            self.mutants = {number: mutant for number, mutant in enumerate(mutants, 1) if fates[number] == "woven" and number not in refused}
            self.apart += [mutant for number, mutant in enumerate(mutants, 1) if fates[number] == "apart"]
            self.unviable += [mutant for number, mutant in enumerate(mutants, 1) if fates[number] == "unviable" or number in refused]
            if not refused:
                break
            # What does not compile goes, and the rest is woven again.
            mutants = list(self.mutants.values())
        built = self.cargo("test", "--no-run").stdout
        self.gate = [found for line in built.splitlines() if (found := json.loads(line).get("executable"))][-1]

    def weave(self, mutants):
        rows = [(number, mutant.file, mutant.line_number, mutant.column, mutant.mutation) for number, mutant in enumerate(mutants, 1)]
        rows = "".join("\t".join(map(str, row)) + "\n" for row in rows if mutants[row[0] - 1].function != "-")
        command = ["cargo", "run", "--quiet", "--locked", "--manifest-path", str(WEAVE), str(self.tree)]
        done = subprocess.run(command, input=rows, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout
        fates = dict.fromkeys(range(1, len(mutants) + 1), "apart")
        return fates | {int(number): fate for number, fate in (line.split("\t") for line in done.splitlines())}

    def cargo(self, command, *arguments):
        whole = ["cargo", command, "--quiet", *GATE, "--message-format=json", *arguments]
        return subprocess.run(whole, cwd=self.tree, env=self.environment, stdout=subprocess.PIPE, text=True)

    def refused(self):
        """The mutants that do not compile: between the comments of which the compiler found an error."""
        checked = self.cargo("check")
        refused = set()
        for line in checked.stdout.splitlines():
            message = json.loads(line).get("message") or {}
            for span in message.get("spans", []) if message.get("level") == "error" else []:
                before = (self.tree / span["file_name"]).read_bytes()[: span["byte_start"]]
                mark = max(before.rfind(b"/*<"), before.rfind(b"/*>"))
                if span["is_primary"] and mark >= 0 and (number := re.match(rb"/\*<(\d+)\*/", before[mark:])):
                    refused.add(int(number[1]))
        if checked.returncode != 0 and not refused:
            sys.exit("the woven tree does not compile")
        return refused

    def run(self, number, *test):
        """Runs the gate, or one test of it, with this mutant awake; what it said if it failed."""
        done = subprocess.run(
            [str(PHASES), self.gate, *test],
            cwd=self.tree / "prove",
            env={**self.environment, "WAL_MUTANT": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return None if done.returncode == 0 else done.stdout.decode(errors="replace")

    def check(self, *tests):
        """Tests that fail by themselves would catch everything."""
        for test in tests or [()]:
            if said := self.run(0, *([test] if test else [])):
                sys.exit(f"the tests fail without any mutant:\n{said}")

    def judge(self, number, *test):
        said = self.run(number, *test)
        return ("missed", "") if said is None else ("caught", killer(said))

    def __iter__(self):
        return iter(self.mutants.items())


def killer(log):
    """The first test that failed, or the hang that the runner cut short."""
    found = re.search(r"^test (\S+) \.\.\. FAILED$|^killed by: (.*)$", log, re.MULTILINE)
    if found:
        return found[1] or found[2]
    return "the process died" if "signal:" in log or "SIG" in log else "?"


def judge_apart(mutants):
    """Has cargo-mutants build and try mutants that cannot be chosen at run time; what became of them, by key."""
    tree = copy_tree("mutants-tree")
    output = tree.parent / "mutants-output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    names = [f"--re=^{re.escape(mutant.name)}$" for mutant in mutants]
    limits = ["--in-place", "--baseline=skip", "--timeout=900", "--build-timeout=600", "--output", str(output), *names]
    done = subprocess.run(MUTANTS + limits, cwd=tree, env=environment(CARGO_TARGET_DIR=str(TARGET)), capture_output=True, text=True)
    # 2: some were missed; 3: some took too long.
    if done.returncode not in (0, 2, 3):
        sys.exit(f"cargo mutants failed:\n{done.stdout}{done.stderr}")
    by_name = {mutant.name: mutant for mutant in mutants}
    found = {}
    for outcome in json.loads((output / "mutants.out" / "outcomes.json").read_text())["outcomes"]:
        name = outcome["scenario"]["Mutant"]["name"]
        # It tries mutants that delete a field whether they are asked for or not.
        if name not in by_name:
            continue
        summary = {"CaughtMutant": "caught", "MissedMutant": "missed", "Unviable": "unviable", "Timeout": "timeout"}[outcome["summary"]]
        log = (output / "mutants.out" / outcome["log_path"]).read_text(errors="replace")
        found[by_name[name].key] = (summary, killer(log) if summary == "caught" else "")
    return found


def at_once(judge, numbers):
    """Judges one mutant for each core at a time; yields number and outcome as they come."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        judged = {pool.submit(judge, number): number for number in numbers}
        for done in concurrent.futures.as_completed(judged):
            yield judged[done], done.result()


def progress(mutants, outcomes):
    counts = collections.Counter(outcomes[mutant.key][0] if mutant.key in outcomes else "not tried" for mutant in mutants)
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def run(arguments):
    mutants, outcomes, proofs = listed(), recorded(), equivalents()
    nth, of = (int(part) for part in arguments.shard.split("/"))
    mine = mutants[nth - 1 :: of]

    def is_pending(mutant):
        outcome = outcomes.get(mutant.key, ("",))[0]
        # Against a survivor without a proof there may be a test by now.
        return arguments.afresh or outcome == "" or (outcome == "missed" and proof_key(mutant) not in proofs)

    pending = [mutant for mutant in mine if is_pending(mutant)]
    if not pending:
        print(f"nothing to try: {progress(mine, outcomes)}")
        return
    start = time.monotonic()
    woven = Woven(pending)
    woven.check()
    fresh = {mutant.key: ("unviable", "") for mutant in woven.unviable}

    def save():
        # Other shards may have written meanwhile.
        outcomes = recorded() | fresh
        record(outcomes, mutants)
        print(f"{int(time.monotonic() - start):5} s  {progress(mine, outcomes)}", flush=True)

    save()
    numbers = list(woven.mutants)
    for first in range(0, len(numbers), BATCH):
        if time.monotonic() - start > arguments.minutes * 60:
            return
        for number, outcome in at_once(woven.judge, numbers[first : first + BATCH]):
            fresh[woven.mutants[number].key] = outcome
        save()
    if woven.apart:
        fresh |= judge_apart(woven.apart)
        save()


def quick(arguments):
    outcomes, proofs = recorded(), equivalents()
    if has_cargo_mutants():
        mutants = listed()
        changed = len({mutant.key[:3] for mutant in mutants if mutant.key not in outcomes})
    else:
        mutants, changed = found_again(outcomes)
        if changed and os.environ.get("CI"):
            sys.exit(f"{changed} functions changed since their mutants were tried, and cargo-mutants is missing")
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout

    def turn(mutant):
        is_rule = mutant.file.startswith("engine/src/protocol/")
        return mutant.key in outcomes, not is_rule, hashlib.sha256((commit + repr(mutant.key)).encode()).digest()

    def by(mutant):
        """The test that caught it, if it was one."""
        found = outcomes.get(mutant.key, ("", ""))[1]
        return [found] if re.fullmatch(r"[\w:]+", found) else []

    # What is known not to compile, to change nothing or to hang needs no second trial.
    worth = [mutant for mutant in mutants if mutant.key not in outcomes or by(mutant)]
    worth = sorted((mutant for mutant in worth if proof_key(mutant) not in proofs), key=turn)
    woven = Woven(worth)
    # From here on, so that what a build takes costs no trials.
    start = time.monotonic()
    numbers = list(woven.mutants)
    woven.check(*sorted({test for number in numbers for test in by(woven.mutants[number])}))

    def judge(number):
        if time.monotonic() - start > arguments.seconds:
            return None
        mutant = woven.mutants[number]
        outcome = woven.judge(number, *by(mutant))
        # The one that caught it is not the only one that may.
        return woven.judge(number) if outcome[0] == "missed" and by(mutant) else outcome

    tried = {number: outcome for number, outcome in at_once(judge, numbers) if outcome}
    survivors = [woven.mutants[number] for number, outcome in tried.items() if outcome[0] != "caught"]
    for mutant in survivors:
        print(f"SURVIVES: {mutant.name}")
    print(f"mutants: {len(tried)} of {len(mutants)} tried again, {len(tried) - len(survivors)} caught; {changed} functions changed since the record")
    print(f"tally: mutants {len(tried)} mutants")
    if survivors:
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
    for file, count in sorted(counts.items()):
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
