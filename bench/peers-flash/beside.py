#!/usr/bin/env python3
"""What the sides take, as a table: sizes from the linked images, the rest from running them under QEMU.

usage: beside.py CROSS QEMU BUILD SIDE...
"""
import re, subprocess, sys

# What is told of each side; of LESS what the program takes by itself is subtracted.
ROWS = [("append_instructions", "append: instructions, on average"), ("append_instructions_least", "the least"),
        ("append_instructions_most", "the most"),
        ("append_programmed_bytes", "append: bytes programmed"), ("append_programs_per_1000", "programs for 1000 appends"),
        ("append_erases_per_1000", "erasures for 1000 appends"), ("append_erases_most", "erasures in one append, at most"),
        ("append_read_bytes", "append: bytes read"), ("append_twice", "units programmed twice"),
        ("records_kept", "records that the chip keeps, at least"),
        ("open_read_bytes", "opening a full chip: bytes read"), ("open_reads", "reads"), ("open_instructions", "instructions"),
        ("first_programs", "first append behind it: programs"), ("first_programmed_bytes", "bytes programmed"), ("first_erases", "erasures"),
        ("read_bytes", "reading back: bytes read for a record"), ("read_instructions", "instructions"),
        ("cuts", "power cuts"), ("cuts_appended", "records appended between them"), ("cuts_refused", "not opened again"),
        ("cuts_lost", "opened, acknowledged records lost"), ("cuts_emptied", "opened, most records gone"),
        ("cuts_wrong", "records read that nobody wrote"), ("cuts_twice", "units programmed twice"),
        ("code", "code and constants"), ("memory", "memory, buffers included"),
        ("stack_append", "deepest stack: append"), ("stack_open", "opening and the first append"), ("stack_read", "reading back")]
LESS = ["code", "memory", "stack_append", "stack_open", "stack_read"]


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def sizes(cross, image):
    text, data, bss = (int(word) for word in output(f"{cross}size", image).splitlines()[1].split()[:3])
    return {"code": text + data, "memory": data + bss}


def measure(cross, qemu, build, side):
    run = subprocess.run([qemu, "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=6",
                          "-semihosting-config", "enable=on,target=native", "-kernel", f"{build}/{side}.elf"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if run.returncode != 0:
        sys.exit(f"{side}: {run.stdout}{run.stderr}")
    figures = {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", run.stdout + run.stderr, re.M)}
    return figures | sizes(cross, f"{build}/{side}.elf")


def main():
    cross, qemu, build, *sides = sys.argv[1:]
    none = measure(cross, qemu, build, "none")
    measured = [measure(cross, qemu, build, side) for side in sides]
    for figures in measured:
        for name in LESS:
            figures[name] -= none[name]
    print(f"| | {' | '.join(sides)} |\n|---|{'---:|' * len(sides)}")
    for name, title in ROWS:
        print(f"| {title} | {' | '.join(f'{figures[name]:,}' for figures in measured)} |")


if __name__ == "__main__":
    main()
