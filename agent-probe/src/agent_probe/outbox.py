"""What was handed to the transport and not acknowledged, and the backlog behind it. One thread only.

While all goes well a message goes straight out. Where the transport has no room, or has not answered for a while, the
outbox *backs up*: everything that is not acknowledged is written to the backlog, in order, and so is all that comes
after. When nothing of before is on its way any more, the backlog is sent from its head, a window at a time, and once
all of it was sent messages go straight out again, behind it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent_probe.message import Accounts, Message
from agent_probe.spill import Backlog, Position
from agent_probe.transport import Outcome, Transport

_WINDOW_MESSAGES = 500
_WINDOW_BYTES = 4 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


@dataclass
class _Sent:
    message: Message
    at: float
    # Where the backlog has it too.
    position: Position | None


class Outbox:
    """Delivers messages at least once, in order, or keeps them in the backlog until it can."""

    def __init__(
        self, transport: Transport, backlog: Backlog, accounts: Accounts, *, patience: float, memory_bytes: int
    ) -> None:
        """Backs up when an acknowledgement takes over ``patience`` seconds, or over ``memory_bytes`` wait for one."""
        self._transport = transport
        self._backlog = backlog
        self._accounts = accounts
        self._patience = patience
        self._memory_bytes = memory_bytes
        self._sent: dict[int, _Sent] = {}
        self._sent_bytes = self._number = 0
        self._backing_up = not backlog.empty
        # The last message that was on its way when it began to back up: the backlog has it too.
        self._barrier = 0
        # Since the backlog's head was last looked for.
        self._failed = False
        self._pause = _FIRST_PAUSE
        self._resume_at = 0.0
        transport.open(self._done)

    @property
    def busy(self) -> bool:
        """Whether :meth:`tick` has anything to do."""
        return bool(self._sent) or self._backing_up

    @property
    def backing_up(self) -> bool:
        """Whether messages go to the backlog."""
        return self._backing_up

    def put(self, message: Message) -> None:
        """Takes a message over."""
        if self._backing_up:
            self._keep(message)
        elif self._sent_bytes + message.size > self._memory_bytes or not self._submit(message, None):
            self._back_up()
            self._keep(message)

    def worth_waiting(self) -> bool:
        """At the end: whether more may be delivered soon, or would be lost otherwise."""
        if any(sent.position is None for sent in self._sent.values()):
            return True
        if not self._backlog.durable:
            return self.busy
        if not self._backing_up or self._failed or self._pause > _FIRST_PAUSE:
            return False
        oldest = next(iter(self._sent.values()), None)
        return oldest is None or time.monotonic() - oldest.at < self._patience

    def _submit(self, message: Message, position: Position | None) -> bool:
        self._number += 1
        number = self._number
        self._sent[number] = _Sent(message, time.monotonic(), position)
        self._sent_bytes += message.size
        if self._transport.submit(number, message):
            return True
        if self._sent.pop(number, None) is not None:
            self._sent_bytes -= message.size
        return False

    def _store(self, message: Message) -> Position | None:
        try:
            position = self._backlog.append(message)
        except OSError as error:
            self._accounts.last_error = f"the spill file: {error}"
            return None
        if position is not None:
            self._accounts.spilled += message.spans
        return position

    def _keep(self, message: Message) -> None:
        if self._store(message) is None:
            self._accounts.drop("spill_full", message.spans)

    def _back_up(self) -> None:
        """Writes all that is on its way to the backlog, oldest first; it may still be acknowledged."""
        if not self._backing_up:
            self._backing_up = True
            self._barrier = self._number
            for sent in self._sent.values():
                if sent.position is None:
                    sent.position = self._store(sent.message)

    def _forget(self, number: int) -> _Sent | None:
        sent = self._sent.pop(number, None)
        if sent is not None:
            self._sent_bytes -= sent.message.size
        return sent

    def _done(self, number: int, outcome: Outcome, reason: str, refused: int = 0, /) -> None:
        if outcome is Outcome.RETRY:
            self._accounts.last_error = reason
            # While this message is among the others, so that it has its place in the backlog.
            self._back_up()
            self._failed = True
        sent = self._forget(number)
        if sent is None:
            return
        if outcome is Outcome.RETRY:
            if sent.position is None:
                self._accounts.drop("spill_full", sent.message.spans)
            return
        if outcome is Outcome.DELIVERED:
            refused = min(refused, sent.message.spans)
            self._accounts.delivered += sent.message.spans - refused
            self._accounts.drop("refused", refused)
            if reason:
                self._accounts.last_error = reason
        else:
            self._accounts.last_error = reason
            self._accounts.drop("rejected", sent.message.spans)
        if sent.position is not None:
            self._backlog.done(sent.position)

    def tick(self, seconds: float) -> None:
        """Does what is due, waiting at most so long for an acknowledgement."""
        self._transport.poll(seconds)
        now = time.monotonic()
        if not self._backing_up:
            oldest = next(iter(self._sent.values()), None)
            if oldest is not None and now - oldest.at > self._patience:
                self._back_up()
        elif self._failed:
            self._begin_again(now)
        elif (
            now >= max(self._resume_at, self._transport.quiet_until)
            and next(iter(self._sent), self._barrier + 1) > self._barrier
        ):
            self._replay()

    def _begin_again(self, now: float) -> None:
        """After a failure: once nothing is on its way, from the oldest that was not delivered, in a while."""
        if self._sent:
            return
        self._failed = False
        self._backlog.rewind()
        self._resume_at = now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _replay(self) -> None:
        while (room := _WINDOW_MESSAGES - len(self._sent)) > 0 and self._sent_bytes < _WINDOW_BYTES:
            window = self._backlog.read(room, _WINDOW_BYTES - self._sent_bytes)
            if not window:
                self._backing_up = False
                self._pause = _FIRST_PAUSE
                return
            for position, message in window:
                if not self._submit(message, position):
                    self._failed = True
                    return

    def secure(self) -> None:
        """Before the end: what was not acknowledged is written to the backlog."""
        if self._sent:
            self._back_up()

    def close(self) -> None:
        """Lets go of transport and backlog; what the backlog has stays there, unless it was in memory."""
        if not self._backlog.durable:
            self._accounts.drop("lost_at_exit", self._backlog.spans)
        self._transport.close()
        self._backlog.close()
