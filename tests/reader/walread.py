#!/usr/bin/env python3
"""Reads a log directory as docs/FORMAT.md describes it, and shares no code with the engine.

usage: walread.py [--raw] [--after SEQ] DIRECTORY_OR_FLASH_IMAGE

Prints one JSON object per record (seq, op, key, value; long values as length and SHA-256; batch_last_seq if it came in a batch), then one
summary. --raw adds CHECKPOINT records, --after leaves out records up to SEQ. Exit code: 0 whole, 1 corrupt (what precedes the damage was
printed), 2 no log or usage, 3 newer format.
"""
import argparse, fcntl, hashlib, json, os, re, struct, sys
from collections import namedtuple
from zlib import crc32

RECORD, BATCH, OPEN, END, FIRST, MIDDLE, LAST = range(1, 8)
CHECKPOINT = 3
ROTATED, RECOVERED = 2, 3
Manifest = namedtuple("Manifest", "magic format reader flags generation log_id floor forgotten n covered epoch bound_offset bound_seq "
                      "bound_data segment_bytes bound_segment oldest seed_base aside_first aside_last")
Header = namedtuple("Header", "magic format reader flags log_id index seed capacity write_unit data_start")
Frame = namedtuple("Frame", "offset crc payload_crc payload_len rel watermark key_len op kind end")
Open = namedtuple("Open", "first_seq link_index link_crc link_end link_frame seq data n covered epoch how")
KINDS = re.compile(rb"[\x01-\x07]")


class Refused(Exception):
    """Why a log cannot be read; `code` is the exit code."""

    def __init__(self, code, what, place=None, offset=None):
        super().__init__(": ".join(filter(None, [place and place + (f" at byte {offset}" if offset is not None else ""), what])))
        self.code = code


def corrupt(what, place=None, offset=None):
    return Refused(1, what, place, offset)


def sealed(data, length, magic):
    """Whether the first `length` bytes have this magic and end in their own checksum."""
    return len(data) >= length and data[:8] == magic and struct.unpack_from("<I", data, length - 4)[0] == crc32(data[:length - 4])


def is_plain(path):
    return os.path.isfile(path) and not os.path.islink(path)


class Segment:
    """One file: `header` is None if it has none that is valid, `usable` as section 4 has it. Nothing but the header is read before `data` is."""

    def __init__(self, path, index, manifest):
        self.path, self.name, self.index, self.header, self.newer = path, os.path.basename(path), index, None, False
        head = b""
        if is_plain(path):
            with open(path, "rb") as file:
                head = file.read(64)
        if sealed(head, 64, b"\x89WALSEG\n"):
            h = Header(*struct.unpack_from("<8sHHI16sIIQII", head))
            self.newer = h.reader > 1
            if not self.newer and 4096 <= h.capacity <= 1 << 30 and 64 <= h.data_start < h.capacity and h.data_start % 8 == 0:
                self.header = h
        self.usable = bool(self.header and manifest and h.log_id == manifest.log_id and h.index == index
                           and h.seed == (manifest.seed_base + index) % (1 << 32) and h.capacity == manifest.segment_bytes
                           and os.path.getsize(path) >= h.capacity)
        self._data = None

    @property
    def data(self):
        if self._data is None:
            with open(self.path, "rb") as file:
                self._data = file.read(self.header.capacity)
        return self._data

    def frame(self, o):
        """The frame whose header is valid by itself at offset `o`, or None."""
        h, data = self.header, self.data
        if o % 8 or o < h.data_start or o + 24 > min(h.capacity, len(data)):
            return None
        crc, payload_crc, length, rel, mark, key_len, op, kind = struct.unpack_from("<IIIIIHBB", data, o)
        unit = max(8, h.write_unit)
        end = o + 24 + (length + 7) // 8 * 8
        if not 1 <= kind <= 7 or end > h.capacity or mark * 8 > o or (key_len > length and kind != FIRST):
            return None
        if crc32(data[o + 4:o + 24] + o.to_bytes(8, "little"), h.seed) != crc:
            return None
        return Frame(o, crc, payload_crc, length, rel, mark * 8, key_len, op, kind, (end + unit - 1) // unit * unit)

    def headers_from(self, o):
        """Every header that is valid by itself at `o` or behind it, wherever it stands."""
        for hit in KINDS.finditer(self.data, o + 23):
            if hit.start() % 8 == 7 and (frame := self.frame(hit.start() - 23)):
                yield frame

    def forget(self):
        """Gives the memory back."""
        self._data = None

    def payload(self, f):
        """The payload if its checksum is right, or None."""
        length = (f.payload_len + 7) // 8 * 8
        padded = self.data[f.offset + 24:f.offset + 24 + length]
        return padded[:f.payload_len] if len(padded) == length and crc32(padded) == f.payload_crc else None

    def open(self):
        """The valid OPEN, or None."""
        f = self.frame(self.header.data_start)
        payload = f and f.kind == OPEN and f.rel == 0 and f.payload_len == 80 and self.payload(f)
        if not payload:
            return None
        o = Open(*struct.unpack_from("<QIIQQQQQQQB", payload))
        dense = o.first_seq == o.seq + 1
        in_range = max(o.first_seq, o.n) < 1 << 62 and o.epoch < (1 << 64) - 1
        legal = in_range and o.how in (1, 2, 3) and o.first_seq > o.seq >= o.data and (dense or o.how == RECOVERED) and (o.link_index or o.how != ROTATED)
        return o if legal else None


def entries(payload):
    """The (op, key, value) of a batch, or None if the lengths do not add up."""
    count = struct.unpack_from("<I", payload)[0] if len(payload) >= 4 else 0
    if not count or 4 + 12 * count > len(payload):
        return None
    table, at, out = list(struct.iter_unpack("<IIBxxx", payload[4:4 + 12 * count])), 4 + 12 * count, []
    if at + sum(key + value for key, value, _ in table) != len(payload):
        return None
    for key_len, value_len, op in table:
        out.append((op, payload[at:at + key_len], payload[at + key_len:at + key_len + value_len]))
        at += key_len + value_len
    return out


class Walk:
    """Section 7: the frames of one segment in order. `tail` is (seq, data_seq), `at` where the next frame is expected, `last` the last good one."""

    def __init__(self, segment, tail):
        self.segment, self.tail, self.at, self.expected = segment, tail, segment.header.data_start, 0
        self.first_seq = self.last = self.successor = self.fragments = None

    def step(self):
        """Takes one frame and returns its records, [(seq, last seq of the batch or None, op, key, value)]; None if the frame is bad."""
        f = self.segment.frame(self.at)
        payload = self.segment.payload(f) if f and f.rel == self.expected else None
        if payload is None or (f.kind == OPEN) != (self.first_seq is None):
            return None
        records, fragments = [], None
        if f.kind == OPEN:
            opened = self.segment.open()
            if not opened:
                return None
            hole = opened.first_seq > opened.seq + 1
            self.first_seq, self.tail = opened.first_seq, (opened.first_seq - 1, opened.first_seq - 1 if hole else opened.data)
        elif f.kind == RECORD:
            if f.op == CHECKPOINT and (f.key_len, f.payload_len) != (0, 16):
                return None
            records = [(f.op, payload[:f.key_len], payload[f.key_len:])]
        elif f.kind == BATCH:
            records = entries(payload)
        elif f.kind == END:
            last_seq, successor, before = struct.unpack("<QII", payload) if len(payload) == 16 else (None, None, None)
            if last_seq != self.tail[0] or before not in (0, self.last.crc):
                return None
            self.successor = successor
        else:
            if f.kind == FIRST:
                fragments = (f.op, f.key_len, payload)
            elif self.fragments:
                fragments = (*self.fragments[:2], self.fragments[2] + payload)
            else:
                return None
            if f.kind == LAST:
                (op, key_len, whole), fragments = fragments, None
                records = [(op, whole[:key_len], whole[key_len:])] if key_len <= len(whole) else None
        if records is None:
            return None
        seq, last = self.tail[0] + 1, self.tail[0] + len(records)
        if records:
            self.tail = (last, self.tail[1] if f.kind == RECORD and f.op == CHECKPOINT else last)
        self.fragments, self.at, self.last, self.expected = fragments, f.end, f, self.tail[0] + 1 - self.first_seq
        return [(seq + i, last if f.kind == BATCH else None, *record) for i, record in enumerate(records)]


class Log:
    """Opens the manifest and finds the chain (sections 3 and 8); `read` then yields the records."""

    def __init__(self, directory):
        self.directory, self.holes, self.torn = directory, [], None
        copies = self.read_manifest()
        names = sorted(name for name in os.listdir(directory) if re.fullmatch(r"[0-9]{10}\.wal", name) and 0 < int(name[:10]) < 1 << 32)
        self.manifest = max((copy for _, copy in copies), key=lambda copy: copy.generation, default=None)
        self.files = {int(name[:10]): Segment(os.path.join(directory, name), int(name[:10]), self.manifest) for name in names}
        m = self.manifest
        if m is None:
            if any(s.newer for s in self.files.values()):
                raise Refused(3, "the log needs a newer reader")
            if any(s.header and s.frame(s.header.data_start) for s in self.files.values()):
                raise corrupt("no valid copy, but the segments hold frames", "MANIFEST")
            raise Refused(2, "there is no log in this directory")
        for _, copy in copies:
            if copy.generation == m.generation and copy != m:
                raise corrupt(f"two different copies of generation {m.generation}", "MANIFEST")
        self.slots = len({slot for slot, _ in copies})
        self.clean = self.slots == 2 and not m.flags & 1
        self.find_chain()

    def read_manifest(self):
        """[(slot, copy)] of every valid copy."""
        copies, path = [], os.path.join(self.directory, "MANIFEST")
        if not os.path.lexists(path):
            return []
        if not is_plain(path):
            raise corrupt("not a plain file", "MANIFEST")
        with open(path, "rb") as file:
            data = file.read(16384)
        for page in range(4):
            copy = data[page * 4096:page * 4096 + 256]
            if sealed(copy, 256, b"\x89WALMAN\n"):
                m = Manifest(*struct.unpack_from("<8sHHIQ16sQQQQQQQQQIIIII", copy))
                if m.reader > 1:
                    raise Refused(3, "the log needs a newer reader", "MANIFEST")
                shape = 4096 <= m.segment_bytes <= 1 << 30 and 64 <= m.bound_offset <= m.segment_bytes and m.bound_offset % 8 == 0
                order = 1 <= m.oldest <= m.bound_segment and m.bound_data <= m.bound_seq and m.forgotten <= m.floor
                if shape and order and max(m.bound_seq, m.floor, m.n) < 1 << 62 and max(m.epoch, m.generation) < (1 << 64) - 1:
                    copies.append((page // 2, m))
        return copies

    def usable(self, index, why):
        segment = self.files.get(index)
        if segment and segment.newer:
            raise Refused(3, "the log needs a newer reader", segment.name)
        if not segment or not segment.usable:
            raise corrupt(f"{why}, but it is {'cut, damaged or not its own' if segment else 'missing'}", f"{index:010}.wal")
        return segment

    def find_chain(self):
        """Fills `chain` with (segment, its OPEN or None), oldest first."""
        m = self.manifest
        segment = self.usable(m.bound_segment, "the manifest's bound is in this segment")
        self.chain = [(segment, segment.open())]
        while True:
            segment, opened = self.chain[0]
            if not opened and not (len(self.chain) == 1 and m.bound_offset == segment.header.data_start):
                raise corrupt("OPEN is damaged", segment.name, segment.header.data_start)
            if segment.index == m.oldest:
                break
            back = opened.link_index if opened else 0
            if not m.oldest <= back < segment.index:
                raise corrupt(f"the chain leads to segment {back}, past the oldest, {m.oldest}", segment.name)
            segment = self.usable(back, f"segment {segment.index} follows it")
            self.chain.insert(0, (segment, segment.open()))
        if self.chain[0][1] and self.chain[0][1].seq > m.floor:
            raise corrupt(f"records {m.floor + 1} to {self.chain[0][1].seq} are missing in front of the oldest segment", self.chain[0][0].name)
        above = {i: (s, s.open()) for i, s in sorted(self.files.items()) if i > m.bound_segment and s.usable}
        links = [o.link_index for _, o in above.values() if o and o.how == ROTATED]
        if len(set(links)) < len(links):
            raise corrupt("two segments follow the same one")
        while True:
            last = self.chain[-1][0].index
            following = [i for i, (_, o) in above.items() if o and o.how == ROTATED and o.link_index == last]
            if not following:
                break
            if self.clean:
                raise corrupt(f"the log is clean, yet segment {following[0]} follows the bound: an old manifest", "MANIFEST")
            self.chain.append(above.pop(following[0]))
        self.leftovers = above

    def check_leftovers(self, successor):
        """Segments above the bound that do not count must never have been in use. `successor` is one that END names: section 9 decides about it."""
        for index, (segment, opened) in self.leftovers.items():
            if opened and opened.how == ROTATED:
                raise corrupt("this segment was in use, but nothing leads to it", segment.name)
            if (index != successor or opened) and any(f.watermark for f in segment.headers_from(segment.header.data_start)):
                raise corrupt("this segment was in use, but the manifest does not know it", segment.name)

    def read(self):
        """Yields the records of all counting segments as `Walk.step` has them, and leaves the tail and what is torn behind them."""
        m = self.manifest
        for i, (segment, opened) in enumerate(self.chain):
            yield from self.read_segment(segment, opened, self.chain[i + 1] if i + 1 < len(self.chain) else None)
            segment.forget()
        self.last_seq, successor = self.walk.tail[0], self.walk.successor
        if self.clean:
            self.vouched_seq = self.last_seq
        if successor is not None:
            after = self.usable(successor, f"{self.walk.segment.name} ends in an END that names it")
            if not after.open():
                self.leftovers.pop(after.index, None)
                self.judge(Walk(after, self.walk.tail), 0)
        for segment, opened in self.leftovers.values():
            if opened and opened.how == ROTATED or any(f.watermark for f in segment.headers_from(segment.header.data_start)):
                raise corrupt("this segment was in use, but the manifest does not know it", segment.name)
        if m.floor > self.last_seq:
            raise corrupt(f"the log ends at {self.last_seq}, below its floor, {m.floor}")

    def read_segment(self, segment, opened, follower):
        """`follower` is the next counting segment and its OPEN, or None."""
        m, name, start = self.manifest, segment.name, segment.header.data_start
        walk = self.walk = Walk(segment, (opened.seq, opened.data) if opened else (m.bound_seq, m.bound_data))
        bound = m.bound_offset if segment.index == m.bound_segment else 0
        stop = follower[1].link_end if follower else bound if self.clean else None
        vouched = max(bound, stop or 0)
        synced = vouched if stop is not None else max([vouched] + [f.watermark for f in segment.headers_from(start)])
        self.vouched_seq = walk.tail[0]
        if opened and opened.first_seq > opened.seq + 1:
            self.holes.append([opened.seq + 1, opened.first_seq - 1])
        while True:
            if walk.at == bound and walk.tail != (m.bound_seq, m.bound_data):
                raise corrupt(f"the tail here is {walk.tail}, the manifest's bound says {(m.bound_seq, m.bound_data)}", name, bound)
            if walk.last and walk.last.offset < bound < walk.at:
                raise corrupt("the manifest's bound is inside a frame", name, bound)
            if walk.at <= synced:
                self.vouched_seq = walk.tail[0]
            if walk.successor is not None or (walk.at >= stop if stop is not None else walk.at + 24 > segment.header.capacity):
                break
            records = walk.step()
            if records is None:
                self.judge(walk, vouched)
                break
            yield from records
        if walk.at < vouched or (stop is not None and walk.at != stop):
            raise corrupt(f"the frames end here, not at {vouched}", name, walk.at)
        if follower:
            after, link = follower
            if not walk.last or (walk.last.offset, walk.last.crc, *walk.tail) != (link.link_frame, link.link_crc, link.seq, link.data):
                raise corrupt(f"{after.name} follows another last frame or tail", name, walk.last and walk.last.offset)
            if link.how == ROTATED and walk.successor != after.index:
                raise corrupt(f"the segment does not end in an END that names {after.name}", name, walk.last.offset)
        elif self.clean and segment.frame(bound):
            raise corrupt("the log is clean, yet a frame stands behind the bound: an old manifest", name, bound)

    def summary(self):
        m = self.manifest
        return {
            "log_id": m.log_id.hex(), "epoch": m.epoch, "clean": self.clean, "valid_slots": self.slots, "floor": m.floor, "forgotten_data": m.forgotten,
            "checkpoint": {"n": m.n, "covered": m.covered}, "last_seq": self.last_seq, "vouched_seq": self.vouched_seq,
            "segments": [segment.index for segment, _ in self.chain], "holes": self.holes, "torn": self.torn}

    def judge(self, walk, vouched):
        """Section 9: raises if the bad frame at `walk.at` is rot, else notes the torn tail."""
        o, segment = walk.at, walk.segment
        behind = [f for f in segment.headers_from(o + 8) if f.rel >= walk.expected]
        vouched = max([vouched] + [f.watermark for f in behind])
        if o < vouched:
            raise corrupt(f"a bad frame, but bytes up to {vouched} were durable (seq {walk.tail[0] + 1} and later)", segment.name, o)
        headers = [f for f in [segment.frame(o)] if f] + behind
        end = max([o] + [f.end for f in headers])
        if not segment.header.flags & 1:
            end = max(end, len(segment.data.rstrip(b"\0")))
        if end > o:
            self.torn = {"file": segment.name, "offset": o, "bytes": end - o, "headers": len(headers)}


class Slot(Segment):
    """A segment in a flash image (section 17); `header` is None if it holds nothing."""

    def __init__(self, image, slot, capacity):
        self.path, self.name, self.header, self.newer = None, f"slot {slot}", None, False
        self._data = image[slot * capacity:(slot + 1) * capacity]
        chip = self._data[64:96]
        if sealed(self._data, 64, b"\x89WALSEG\n") and chip[:4] == b"\x89WFL" and crc32(chip[:28]) == struct.unpack("<I", chip[28:])[0]:
            h = Header(*struct.unpack_from("<8sHHI16sIIQII", self._data))
            self.newer = h.reader > 1
            if h.capacity == capacity and not self.newer:
                self.header, self.index = h, h.index

    def forget(self):
        """The image stays."""


class FlashLog:
    """The log in a flash image: `read` yields its records as those of a directory."""

    def __init__(self, path):
        with open(path, "rb") as file:
            image = file.read()
        self.torn, self.floor, self.forgotten, self.checkpoint = None, 0, 0, (0, 0)
        heads = [o for o in range(0, len(image), 256) if sealed(image[o:o + 64], 64, b"\x89WALSEG\n")]
        if not heads:
            raise Refused(2, "there is no log in this image")
        capacity = struct.unpack_from("<Q", image, heads[0] + 40)[0]
        slots = [Slot(image, i, capacity) for i in range(len(image) // capacity)]
        if any(slot.newer for slot in slots):
            raise Refused(3, "the log needs a newer reader")
        candidates = {slot.index: (slot, slot.open()) for slot in slots if slot.header and slot.open()}
        if not candidates:
            raise Refused(2, "there is no log in this image")
        segment, opened = candidates[max(candidates)]
        for slot in slots:
            if slot.header and slot.index > segment.index and any(f.watermark for f in slot.headers_from(slot.header.data_start)):
                raise corrupt("this segment was in use, but its OPEN is damaged", slot.name)
        self.log_id, self.epoch, self.checkpoint = segment.header.log_id, opened.epoch, (opened.n, opened.covered)
        self.active = self.walk_active(segment, opened)
        self.chain = [(segment, opened, self.active.at)]
        while opened.seq > self.floor:
            link = opened
            segment, opened = candidates.get(link.link_index, (None, None))
            if not segment or segment.index >= self.chain[0][0].index:
                raise corrupt(f"segment {link.link_index} is missing")
            last = segment.frame(link.link_frame)
            if not last or (last.crc, last.end) != (link.link_crc, link.link_end):
                raise corrupt(f"{self.chain[0][0].name} follows another last frame", segment.name, link.link_frame)
            self.chain.insert(0, (segment, opened, link.link_end))

    def walk_active(self, segment, opened):
        """Where the active segment ends, and what its STATEs and CHECKPOINT records say."""
        walk = Walk(segment, (opened.seq, opened.data))
        while walk.at + 24 <= segment.header.capacity and (records := walk.step()) is not None:
            f = walk.last
            if (f.kind, f.op, f.payload_len) == (FIRST, 4, 32):
                floor, forgotten, n, covered = struct.unpack("<QQQQ", segment.payload(f))
                self.floor, self.forgotten = max((self.floor, self.forgotten), (floor, forgotten))
                self.checkpoint = max(self.checkpoint, (n, covered))
            for _, _, op, _, value in records:
                if op == CHECKPOINT:
                    self.checkpoint = max(self.checkpoint, struct.unpack("<QQ", value))
        behind = [f for f in segment.headers_from(walk.at) if f.rel >= walk.expected]
        if max([0] + [f.watermark for f in behind]) > walk.at:
            raise corrupt(f"a bad frame in front of what was durable (seq {walk.tail[0] + 1} and later)", segment.name, walk.at)
        return walk

    def read(self):
        """Yields the records of all counting segments."""
        for segment, opened, end in self.chain:
            walk = Walk(segment, (opened.seq, opened.data))
            while walk.at < end:
                records = walk.step()
                if records is None:
                    raise corrupt(f"a bad frame (seq {walk.tail[0] + 1} and later)", segment.name, walk.at)
                yield from records
        self.last_seq = walk.tail[0]

    def summary(self):
        return {"log_id": self.log_id.hex(), "epoch": self.epoch, "floor": self.floor, "forgotten_data": self.forgotten,
                "checkpoint": dict(zip(("n", "covered"), self.checkpoint)), "last_seq": self.last_seq,
                "segments": [segment.index for segment, _, _ in self.chain]}


def shown(name, value):
    """A key or value as JSON members: hex, or length and SHA-256 if it is long."""
    return {name: value.hex()} if len(value) <= 64 else {name + "_len": len(value), name + "_sha256": hashlib.sha256(value).hexdigest()}


def main():
    parser = argparse.ArgumentParser(description="Reads a log as docs/FORMAT.md describes it.")
    parser.add_argument("directory", help="a log's directory, or the image of a flash chip")
    parser.add_argument("--raw", action="store_true", help="show CHECKPOINT records too")
    parser.add_argument("--after", type=int, default=0, metavar="SEQ", help="leave out records up to this one")
    options = parser.parse_args()
    try:
        is_flash = os.path.isfile(options.directory)
        if not is_flash and os.path.exists(lock := os.path.join(options.directory, "LOCK")):
            lock = open(lock, "rb")  # Held until this process ends.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        log = FlashLog(options.directory) if is_flash else Log(options.directory)
        floor = log.floor if is_flash else log.manifest.floor
        for seq, batch_last, op, key, value in log.read():
            if seq > max(floor, options.after) and (op != CHECKPOINT or options.raw):
                batch = {"batch_last_seq": batch_last} if batch_last else {}
                print(json.dumps({"seq": seq, "op": op, **shown("key", key), **shown("value", value), **batch}))
        print(json.dumps(log.summary()))
    except Refused as refusal:
        print(f"walread: {refusal}", file=sys.stderr)
        return refusal.code
    except OSError as error:
        print(f"walread: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
