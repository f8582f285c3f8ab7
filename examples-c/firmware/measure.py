#!/usr/bin/env python3
"""What the log takes in a firmware: sizes from the linked image, stack and instructions from a program that measures under QEMU.

usage: measure.py CROSS QEMU BUILD
"""
import re, subprocess, sys

BOARD = {"m4": "mps2-an386", "m4f": "mps2-an386", "m3": "mps2-an385"}
# The parts of the image that are the board's and the application's, not the library's.
OWN = re.compile(r"^(main|upload|append_\w+|round_of_readings|reading_of|config_of|must|fail|acknowledge|instructions|chip_\w+|store|tear|"
                 r"cut|random_word|file_\w+|say\w*|leave|arguments|length|semihosting|clock_\w+|stack_\w+|reset|trap|vectors|memcpy|memset|memcmp|__aeabi_mem\w+|"
                 r"wal_flash_panicked)(\.\w+)*$")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    cross, qemu, build = sys.argv[1:4]
    failed = False
    for machine, board in BOARD.items():
        image = f"{build}/logger-{machine}.elf"
        text = int(output(f"{cross}size", image).splitlines()[1].split()[0])
        own, panics = {}, set()
        for line in output(f"{cross}nm", "-C", "-S", image).splitlines():
            fields = line.split(None, 3)
            if "panic" in line and "wal_flash_panicked" not in line:
                panics.add(fields[-1])
            if len(fields) == 4 and fields[2] in "tTrR" and OWN.match(fields[3]):
                own[fields[0]] = int(fields[1], 16)
        options = ["-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=6"]
        options += ["-semihosting-config", "enable=on,target=native", "-kernel", f"{build}/measure-{machine}.elf"]
        run = subprocess.run([qemu, "-M", board, *options],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
        figures = dict(re.findall(r"^(\w+) (\d+)$", run.stdout + run.stderr, re.M))
        print(f"{machine}: image {text} bytes of code and constants, {text - sum(own.values())} without board and application; panics {sorted(panics) or 'none'}")
        print("    " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
        failed = failed or not figures or bool(panics)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
