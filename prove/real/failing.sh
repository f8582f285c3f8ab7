#!/usr/bin/env bash
# Real file systems on a disk that fails: a FUSE file behind a loop device (disk.c), with ext4, and with xfs and btrfs as far as they are here; a
# host on them (failing.c); restarts with warm caches, with dropped ones, and after mounting again; and power cuts. As root.
#
#     failing.sh BUILD CUTS [SEED]      BUILD has the programs; so many power cuts on each file system
set -euo pipefail
build=$(realpath "$1") cuts=$2 seed=${3:-$RANDOM$RANDOM}
begun=$seed
# xfs wants that many megabytes at least.
megabytes=320

skip() {
    echo "$1"
    echo "SKIPPED: no loop or FUSE device here"
    exit 0
}
# In a subshell: the shell itself ends where a redirection of `exec` fails.
(exec 3<> /dev/fuse) 2> /dev/null || skip "/dev/fuse cannot be opened"
(exec 3<> /dev/loop-control) 2> /dev/null || skip "/dev/loop-control cannot be opened"

work=$(mktemp -d "${TMPDIR:-/tmp}/wal-failing.XXXXXX")
loop='' disk_pid=''
mkdir "$work/disk" "$work/fs"

clean_up() {
    local status=$?
    trap - EXIT
    if mountpoint -q "$work/disk"; then echo heal > "$work/disk/control" || true; fi
    if mountpoint -q "$work/fs"; then umount "$work/fs" || umount -l "$work/fs" || status=2; fi
    if [ -n "$loop" ]; then losetup -d "$loop" || status=2; fi
    if mountpoint -q "$work/disk"; then fusermount3 -u "$work/disk" || umount -l "$work/disk" || status=2; fi
    if [ -n "$disk_pid" ]; then
        kill "$disk_pid" 2> /dev/null || true
        wait "$disk_pid" || true
    fi
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 2' INT TERM HUP

"$build/disk" "$work/disk" $megabytes &
disk_pid=$!
for _ in $(seq 100); do
    mountpoint -q "$work/disk" && break
    sleep 0.05
done
control=$work/disk/control
[ -f "$control" ] || { echo "the disk does not come up"; exit 2; }
loop=$(losetup --find --show "$work/disk/disk") || skip "no loop device can be had"

# What a file system needs. Without its tools or its kernel part there is none.
is_here() {
    command -v "mkfs.$1" > /dev/null && { grep -qw "$1" /proc/filesystems || modprobe "$1" 2> /dev/null; }
}
make_fs() {
    wipefs -aq "$loop"
    case $1 in
        ext4) mkfs.ext4 -q -E nodiscard "$loop" ;;
        xfs) mkfs.xfs -q -K "$loop" ;;
        btrfs) mkfs.btrfs -q -K "$loop" > /dev/null ;;
    esac
}
# ext4 has two ways of taking an error, by turns.
mount_fs() {
    local options=noatime
    if [ "$fs" = ext4 ]; then
        options+=,errors=$([ $((mounts % 2)) = 0 ] && echo continue || echo remount-ro)
    fi
    mounts=$((mounts + 1))
    mount -o "$options" "$loop" "$work/fs"
}
# A file system that has had enough may not unmount in peace, but it must come back.
mount_again() {
    umount "$work/fs"
    echo heal > "$control"
    mount_fs
}
# Of the files named, and no others: dropping everybody's takes long.
drop_caches() {
    local file
    for file in "$@"; do dd if="$file" iflag=nocache count=0 status=none; done
}

failed() {
    echo "FAILED: $fs $*, seed $seed (begun with $begun); what the file system said:"
    dmesg 2> /dev/null | tail -n 20 || true
    exit 1
}
check() {
    "$build/failing" check "$work/fs/$case" "$work/ledger" "$@" "$seed" || failed "$case, then $*"
    checks=$((checks + 1))
}

# The mistake: the second sync of a naive log succeeds, and what it acknowledged is gone.
mistake() {
    "$build/failing" naive "$work/fs/naive" "$control" "$([ "$fs" = btrfs ] && echo all || echo file)" || failed "naive log"
    drop_caches "$work/fs/naive"
    "$build/failing" naive-lost "$work/fs/naive" || failed "naive log"
    echo "$fs: a log that syncs again after a failed sync lost what the second one acknowledged, as it should"
}

# One case: the host breaks; then restarts, each of which must find what the one before left.
break_and_check() {
    local mode=$1 point=$2 fault=$3 said
    case=$mode-$point-$fault
    seed=$((seed + 1))
    rm -f "$work/ledger"
    if [ "$point" = open ]; then
        "$build/failing" break "$work/fs/$case" "$control" "$work/ledger" "$mode" "$point" "$fault" "$seed" || failed "$case"
    fi
    said=$("$build/failing" break "$work/fs/$case" "$control" "$work/ledger" "$mode" "$point" "$fault" "$seed") || failed "$case: $said"
    outcomes+="$said"$'\n'
    if [ "$fault" != cut ] && touch "$work/fs/alive" 2> /dev/null && sync "$work/fs/alive" 2> /dev/null; then
        if [ $((cases % 2)) = 0 ]; then
            # The caches still show what the disk has not got.
            check "$mode" abrupt
            drop_caches "$work/fs/$case"/*
        else
            drop_caches "$work/fs/$case"/*
            check "$mode" abrupt
        fi
        check "$mode" abrupt
        alive=$((alive + 1))
    fi
    mount_again
    check "$mode" closed
    rm -rf "${work:?}/fs/$case"
    cases=$((cases + 1))
}

start=$SECONDS cases=0 cut_cases=0 checks=0 mounts=0 alive=0 outcomes='' systems=''
echo "failing disk: seed $seed, $loop"
for fs in ext4 xfs btrfs; do
    if ! is_here $fs; then
        echo "$fs: not here"
        continue
    fi
    systems+=" $fs"
    make_fs $fs
    mount_fs
    mistake
    mount_again
    # Where btrfs writes next is not known before.
    faults='file all flushes'
    if [ $fs = btrfs ]; then faults='all flushes'; fi
    for mode in always direct os; do
        for point in append rotate checkpoint truncate open threads; do
            for fault in $faults; do
                break_and_check $mode $point "$fault"
            done
        done
    done
    for ((round = 0; round < cuts; round++)); do
        modes=(always direct os)
        break_and_check "${modes[round % 3]}" threads cut
        cut_cases=$((cut_cases + 1))
    done
    umount "$work/fs"
done
case $systems in
    " ext4 "*) ;;
    *) echo "FAILED: ext4 and at least one more file system are wanted; here are:$systems"; exit 1 ;;
esac
# A failed sync poisons; what else fails, like the preparation of a segment, need not.
poisoned=$(grep -c '^poisoned$' <<< "$outcomes")
[ $((poisoned * 2)) -gt $cases ] || { echo "FAILED: only $poisoned of $cases handles were poisoned"; exit 1; }
seconds=$((SECONDS - start))
echo "on$systems: $cases cases, $cut_cases of them power cuts; $alive times the file system lived on; in $seconds s"
echo "$checks restarts found everything acknowledged; how the handles took it:"
sort <<< "$outcomes" | uniq -c | sed '/^ *[0-9]* *$/d'
echo "tally: failing-disk $((cases - cut_cases)) faults; $seconds.0 seconds; 0 found"
echo "tally: power-cuts $cut_cases cuts; 0 found"
