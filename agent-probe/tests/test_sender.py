"""The queue, the outbox and the spill folder, with a transport that does as it is told."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_probe.message import Accounts, Message
from agent_probe.outbox import Outbox
from agent_probe.privacy import Privacy
from agent_probe.sender import Limits, Sender
from agent_probe.spill import Backlog, MemoryBacklog, SpillFolder
from traced import FakeTransport, decoded


def make_spans(count: int, traces: int = 1, text: str = "x") -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("t")
    for _ in range(traces):
        with tracer.start_as_current_span("root"):
            for _ in range(count // traces - 1):
                tracer.start_span("child", attributes={"agent.input": text}).end()
    return list(memory.get_finished_spans())


def sender_of(
    transport: FakeTransport, backlog: Callable[[], Backlog] | None = None, limits: Limits | None = None
) -> Sender:
    opened = backlog or (lambda: MemoryBacklog(1 << 20))
    small = Limits(delay=0.01, patience=0.2)
    return Sender(transport, opened, topic="otlp_spans", privacy=Privacy(), limits=limits or small)


def await_that(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def test_a_batch_goes_out_as_one_message_a_trace_keyed_by_its_lowercase_hex_id() -> None:
    transport = FakeTransport()
    sender = sender_of(transport)
    for span in make_spans(12, traces=3):
        assert sender.offer(span)
    assert sender.flush(10)
    assert sender.accounts.delivered == 12
    assert len({message.key for message in transport.delivered}) == 3
    for message in transport.delivered:
        assert {span.trace_id.hex().encode() for _, span in decoded(message.value)} == {message.key}


def test_a_transport_without_keys_gets_one_message_for_all_traces() -> None:
    transport = FakeTransport(by_trace=False)
    sender = sender_of(transport, limits=Limits(delay=0.1))
    for span in make_spans(12, traces=3):
        assert sender.offer(span)
    assert sender.flush(10)
    assert [message.key for message in transport.delivered] == [b""]
    assert len(transport.span_ids) == 12


def test_a_message_is_split_before_it_is_too_large() -> None:
    transport = FakeTransport()
    sender = sender_of(transport, limits=Limits(delay=0.05, max_message_bytes=30_000))
    for span in make_spans(20, text="x" * 5_000):
        sender.offer(span)
    assert sender.flush(10)
    assert len(transport.span_ids) == 20
    assert max(len(message.value) for message in transport.delivered) <= 30_000


def test_what_the_queue_has_no_room_for_is_counted_and_told_in_one_line_a_period(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = FakeTransport()
    held = threading.Event()

    def slow_to_open() -> Backlog:
        held.wait(20)
        return MemoryBacklog(1 << 20)

    sender = sender_of(transport, slow_to_open, Limits(delay=0.01, queue_spans=10, report_period=0.2))
    with caplog.at_level(logging.WARNING, "agent_probe"):
        taken = [sender.offer(span) for span in make_spans(50)]
        held.set()
        assert sender.shutdown(10)
    assert taken == [True] * 10 + [False] * 40
    assert sender.accounts.dropped == {"queue_full": 40}
    assert sender.accounts.delivered == 10
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "dropped 40 spans" in lines[0]


def test_the_queue_is_bounded_in_bytes_too() -> None:
    held = threading.Event()

    def slow_to_open() -> Backlog:
        held.wait(20)
        return MemoryBacklog(1 << 20)

    sender = sender_of(FakeTransport(), slow_to_open, Limits(queue_bytes=100_000))
    taken = [sender.offer(span) for span in make_spans(11, text="x" * 30_000)]
    held.set()
    # Three of 31 kB, and the root, which is small and comes last.
    assert taken == [True] * 3 + [False] * 7 + [True]
    assert sender.shutdown(10)


def test_offering_does_not_wait_for_a_transport_that_hangs() -> None:
    class Hanging(FakeTransport):
        def submit(self, number: int, message: Message) -> bool:
            released.wait(20)
            return super().submit(number, message)

    released = threading.Event()
    transport = Hanging()
    sender = sender_of(transport)
    done = threading.Event()

    def agent() -> None:
        for span in make_spans(1000):
            sender.offer(span)
        done.set()

    threading.Thread(target=agent, daemon=True).start()
    # Released by nobody until all were offered.
    assert done.wait(20)
    released.set()
    assert sender.flush(20)
    assert sender.accounts.delivered == 1000


def test_a_span_that_ends_inside_of_offer_does_not_deadlock() -> None:
    """As from a finalizer or a signal handler, which run wherever a thread happens to be."""
    transport = FakeTransport()
    sender = sender_of(transport)
    first, second = make_spans(2)
    with sender._gate:
        assert sender.offer(first)
    assert sender.offer(second)
    assert sender.flush(10)
    assert len(transport.delivered) >= 1


def test_while_the_transport_is_away_spans_spill_and_come_in_order_with_their_bytes(tmp_path: Path) -> None:
    transport = FakeTransport(up=False)
    sender = sender_of(transport, lambda: SpillFolder(tmp_path, 1 << 20))
    expected = []
    for span in make_spans(40, traces=20):
        sender.offer(span)
        assert span.context is not None
        expected.append(span.context.span_id.to_bytes(8, "big"))
    await_that(lambda: sender.accounts.spilled == 40, "all is in the spill file")
    on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*.spill"))
    transport.up = True
    assert sender.flush(20)
    assert transport.span_ids == expected
    assert all(message.value in on_disk for message in transport.delivered)
    assert sender.accounts.delivered == 40
    assert not sender.accounts.dropped
    for span in make_spans(1):
        sender.offer(span)
    assert sender.flush(10)
    assert not sender.backing_up
    assert list(tmp_path.rglob("*.spill")) == []


def test_no_answer_for_a_while_is_reason_enough_to_spill(tmp_path: Path) -> None:
    transport = FakeTransport(silent=True)
    sender = sender_of(transport, lambda: SpillFolder(tmp_path, 1 << 20))
    for span in make_spans(5):
        sender.offer(span)
    await_that(lambda: sender.accounts.spilled == 5, "what is on its way is in the spill file")


def test_what_could_not_be_sent_at_exit_is_sent_by_the_next_process(tmp_path: Path) -> None:
    away = FakeTransport(up=False)
    first = sender_of(away, lambda: SpillFolder(tmp_path, 1 << 20))
    spans = make_spans(10)
    for span in spans:
        first.offer(span)
    assert first.shutdown(5)
    assert first.accounts.spilled == 10

    back = FakeTransport()
    second = sender_of(back, lambda: SpillFolder(tmp_path, 1 << 20))
    for span in make_spans(2):
        second.offer(span)
    assert second.flush(10)
    assert len(back.span_ids) == 12
    assert back.span_ids[:10] == [span.context.span_id.to_bytes(8, "big") for span in spans if span.context]
    assert second.shutdown(5)
    assert list(tmp_path.iterdir()) == []


def test_a_full_spill_file_drops_the_newest_and_counts_them(tmp_path: Path) -> None:
    transport = FakeTransport(up=False)
    sender = sender_of(transport, lambda: SpillFolder(tmp_path, 4_000))
    for span in make_spans(40, traces=40):
        sender.offer(span)
    await_that(lambda: sender.accounts.dropped["spill_full"] + sender.accounts.spilled == 40, "each is accounted for")
    kept = sender.accounts.spilled
    assert 0 < kept < 40
    transport.up = True
    assert sender.flush(20)
    assert len(transport.span_ids) == kept


def test_what_is_rejected_for_ever_is_counted_and_holds_nothing_up() -> None:
    transport = FakeTransport(rejecting=True)
    sender = sender_of(transport)
    for span in make_spans(3):
        sender.offer(span)
    assert sender.flush(10)
    assert sender.accounts.dropped == {"rejected": 3}
    transport.rejecting = False
    for span in make_spans(2):
        sender.offer(span)
    assert sender.flush(10)
    assert sender.accounts.delivered == 2


def test_after_shutdown_spans_are_counted_as_dropped() -> None:
    sender = sender_of(FakeTransport())
    one, other = make_spans(2)
    sender.offer(one)
    assert sender.shutdown(5)
    assert not sender.offer(other)
    assert sender.accounts.dropped == {"after_shutdown": 1}


def _message(number: int) -> Message:
    return Message("otlp_spans", b"%032x" % number, b"value %d" % number * 10, 1)


def _outbox(transport: FakeTransport, backlog: Backlog, memory_bytes: int = 1 << 20) -> tuple[Outbox, Accounts]:
    accounts = Accounts()
    return Outbox(transport, backlog, accounts, patience=60.0, memory_bytes=memory_bytes), accounts


def _settle(outbox: Outbox) -> None:
    def ticked() -> bool:
        outbox.tick(0.0)
        return not outbox.busy

    await_that(ticked, "the outbox has sent everything")


def test_no_room_in_the_transport_backs_up_and_keeps_the_order(tmp_path: Path) -> None:
    transport = FakeTransport()
    outbox, accounts = _outbox(transport, SpillFolder(tmp_path, 1 << 20))
    messages = [_message(number) for number in range(30)]
    for number, message in enumerate(messages):
        transport.room = number < 5
        outbox.put(message)
    transport.room = True
    _settle(outbox)
    assert transport.delivered == messages
    assert accounts.delivered == 30


def test_once_it_has_caught_up_messages_go_straight_out_though_more_keep_coming(tmp_path: Path) -> None:
    transport = FakeTransport(up=False)
    outbox, accounts = _outbox(transport, SpillFolder(tmp_path, 1 << 20))
    for number in range(10):
        outbox.put(_message(number))
        outbox.tick(0.0)
    transport.up = True
    sent = 10

    def more() -> bool:
        nonlocal sent
        outbox.put(_message(sent))
        sent += 1
        outbox.tick(0.0)
        return not outbox.backing_up

    await_that(more, "messages go straight out")
    _settle(outbox)
    spilled = accounts.spilled
    outbox.put(_message(sent))
    _settle(outbox)
    assert accounts.spilled == spilled
    assert transport.delivered == [_message(number) for number in range(sent + 1)]
    assert list(tmp_path.rglob("*.spill")) == []


def test_a_failure_amid_the_backlog_is_tried_again_from_there_in_order(tmp_path: Path) -> None:
    class Flaky(FakeTransport):
        def submit(self, number: int, message: Message) -> bool:
            self.up = random.random() < 0.9
            return super().submit(number, message)

    random.seed(4)
    transport = Flaky()
    outbox, accounts = _outbox(transport, SpillFolder(tmp_path, 1 << 20))
    outbox._pause = 0.001
    messages = [_message(number) for number in range(200)]
    for message in messages:
        outbox.put(message)
        outbox.tick(0.0)
    _settle(outbox)
    first_times = list(dict.fromkeys(transport.delivered))
    assert sorted(first_times, key=messages.index) == messages
    assert len(transport.delivered) == accounts.delivered == 200


def test_unanswered_messages_beyond_the_memory_limit_go_to_the_backlog(tmp_path: Path) -> None:
    transport = FakeTransport(silent=True)
    folder = SpillFolder(tmp_path, 1 << 20)
    outbox, accounts = _outbox(transport, folder, memory_bytes=500)
    for number in range(30):
        outbox.put(_message(number))
    assert outbox.backing_up
    assert accounts.spilled == 30


def test_an_answer_that_comes_after_the_spilling_is_not_sent_again(tmp_path: Path) -> None:
    transport = FakeTransport(up=True)
    outbox, accounts = _outbox(transport, SpillFolder(tmp_path, 1 << 20))
    outbox.put(_message(1))
    outbox.secure()
    outbox.put(_message(2))
    _settle(outbox)
    assert transport.delivered == [_message(1), _message(2)]
    assert accounts.delivered == 2


def test_segments_are_deleted_as_they_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_probe.spill.SEGMENT_BYTES", 500)
    folder = SpillFolder(tmp_path, 1 << 20)
    for number in range(50):
        assert folder.append(_message(number)) is not None
    assert len(list(tmp_path.rglob("*.spill"))) > 5
    before = folder.size
    for position, _ in folder.read(25, 1 << 20):
        folder.done(position)
    assert folder.size < before
    folder.rewind()
    assert [message for _, message in folder.read(100, 1 << 20)] == [_message(number) for number in range(25, 50)]


def test_a_record_that_was_cut_short_or_damaged_ends_its_segment(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path, 1 << 20)
    for number in range(10):
        folder.append(_message(number))
    folder.close()
    (segment,) = tmp_path.rglob("*.spill")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(bytes(data[:-3]))
    taken_over = SpillFolder(tmp_path, 1 << 20)
    read = taken_over.read(100, 1 << 20)
    assert [message for _, message in read] == [_message(number) for number in range(len(read))]
    assert 0 < len(read) < 9
    for position, _ in read:
        taken_over.done(position)
    assert taken_over.read(100, 1 << 20) == []
    assert taken_over.empty


def test_the_folder_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    living = SpillFolder(tmp_path, 1 << 20)
    living.append(_message(1))
    other = SpillFolder(tmp_path, 1 << 20)
    assert other.empty
    assert [message for _, message in living.read(9, 1 << 20)] == [_message(1)]


def test_spill_files_are_for_their_user_only(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path / "spill", 1 << 20)
    folder.append(_message(1))
    (segment,) = tmp_path.rglob("*.spill")
    assert segment.stat().st_mode & 0o077 == 0
    assert folder.folder.stat().st_mode & 0o077 == 0


def test_a_full_disk_is_counted_and_does_not_stop_what_can_be_sent(tmp_path: Path) -> None:
    class FullDisk(SpillFolder):
        def append(self, message: Message) -> None:
            raise OSError(28, "No space left on device")

    transport = FakeTransport(up=False)
    sender = sender_of(transport, lambda: FullDisk(tmp_path, 1 << 20))
    for span in make_spans(3):
        sender.offer(span)
    await_that(lambda: sender.accounts.dropped["spill_full"] == 3, "they are counted")
    transport.up = True
    await_that(lambda: not sender.backing_up, "it sends again")
    for span in make_spans(2):
        sender.offer(span)
    assert sender.flush(10)
    assert sender.accounts.delivered == 2


def test_a_folder_of_another_user_is_not_spilled_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.getuid()
    monkeypatch.setattr("agent_probe.spill.os.getuid", lambda: own + 1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        SpillFolder(tmp_path, 1 << 20)
