#!/usr/bin/env python3
"""What the sides take, as a table: sizes from the linked images, the rest from running them under QEMU.

usage: beside.py CROSS QEMU BUILD SIDE...
"""
import re, subprocess, sys

ROWS = [("append_instructions", "instructions for an append, on average"), ("append_instructions_least", "the least"),
        ("append_instructions_most", "the most"), ("append_programs_per_1000", "programs for 1000 appends"),
        ("append_programmed_bytes", "bytes programmed for one"), ("append_read_bytes", "bytes read for one"),
        ("append_erases_per_1000", "erasures for 1000 appends"), ("append_erases_most", "erasures in one append, at most"),
        ("records_kept", "records kept, at least"), ("open_read_bytes", "opening: bytes read"), ("open_reads", "opening: reads"),
        ("open_instructions", "opening: instructions"), ("open_programmed_bytes", "opening: bytes programmed"), ("open_erases", "opening: erasures"),
        ("first_programmed_bytes", "first append: bytes programmed"), ("first_erases", "first append: erasures"),
        ("read_instructions", "reading back: instructions for a record"), ("read_bytes", "reading back: bytes read for a record"),
        ("code", "code and constants"), ("memory", "memory, buffers included"),
        ("stack_append", "stack: append"), ("stack_open", "stack: opening and the first append"), ("stack_read", "stack: reading back")]


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
        for name in ("code", "memory", "stack_append", "stack_open", "stack_read"):
            figures[name] -= none[name]
    print(f"| | {' | '.join(sides)} |\n|---|{'---:|' * len(sides)}")
    for name, title in ROWS:
        print(f"| {title} | {' | '.join(f'{figures[name]:,}' for figures in measured)} |")


if __name__ == "__main__":
    main()
