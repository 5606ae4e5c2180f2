"""What is measured of one node: one batched call every few seconds, and slower questions now and then.

Rule 1: nothing here decides about the release. A node that is too busy to answer at normal priority is told to be
        overloaded; that it is alive is the probe's to say.
Rule 2: what was measured keeps its age; it is shown as long as the VM lives.
"""

import asyncio
import random
from typing import Any

import structlog

from relctld.beam.dist.link import CallFailed, CallTimeout, Link, LinkBusy, LinkLost
from relctld.beam.dist.refusals import LinkRefused
from relctld.beam.dist.spawn import Pattern, prepare
from relctld.beam.kept import packed, unpacked
from relctld.beam.slowlane import SLOW, Slow, decode_slow
from relctld.beam.telemetry import FAST_TIMEOUT, Sample, batch, beam_object, decode_batch, reading
from relctld.core.notes import Note
from relctld.core.probes import Verdict
from relctld.core.thresholds import Watch, judge
from relctld.supervisor.history import History
from relctld.supervisor.managed import Managed
from relctld.supervisor.nodes.watch import NodeWatch
from relctld.supervisor.nodes.whereabouts import Nowhere

log = structlog.get_logger()

EVERY = 5.0
SLOW_EVERY = 30.0
BOOTING_EVERY = 1.0
BOOTS_WITHIN = 30.0
NO_LINK_EVERY = 60.0
SOON = 0.5

_BATCH = Pattern(batch)
_SLOW = tuple(prepare(question.module, question.function, question.args) for question in SLOW.values())
_SLOW_TIMEOUT = max(question.timeout for question in SLOW.values())


class Lane:
    """Measures one node until it is closed."""

    def __init__(self, managed: Managed, watch: NodeWatch, history: History) -> None:
        self._managed = managed
        self._watch = watch
        self._history = history
        self._loop = asyncio.get_running_loop()
        self._kept: bytes | None = None
        self._slow: Slow | None = None
        self._slow_at = float("-inf")
        self._runs: str | None = None
        self._thresholds = Watch()
        self._begun = self._loop.time()
        self._rest: asyncio.Future[None] | None = None
        self._task = self._loop.create_task(self._run(), name=f"measure {managed.name}")

    def close(self) -> None:
        """Ask no more."""
        self._task.cancel()

    @property
    def version(self) -> str | None:
        """The version that runs, as far as it is known."""
        if self._runs is not None:
            return self._runs
        begun = self._managed.launched.version
        return self._slow.version(begun) if self._slow else begun

    def runs(self, version: str) -> None:
        """Somebody else has found that this runs now; the node is asked again soon."""
        if version != self.version:
            self._runs, self._slow_at = version, float("-inf")

    def rebooted(self) -> None:
        """The node booted inside its process: ask at once what it runs now."""
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(None)

    def shown(self) -> dict[str, Any] | None:
        """`beam` of `status --json`."""
        sample = self._sample
        if sample is None:
            return None
        return beam_object(sample, self._slow, self._loop.time() - sample.at, self._thresholds.raised)

    @property
    def _sample(self) -> Sample | None:
        return None if self._kept is None else unpacked(self._kept)

    async def _run(self) -> None:
        await asyncio.sleep(random.uniform(SOON, 2 * SOON))  # noqa: S311 it spreads questions, it guards nothing
        while True:
            begun, pause, first = self._loop.time(), EVERY, self._kept is None
            try:
                await self._measure()
            except Nowhere as nowhere:
                if nowhere.finding.verdict is Verdict.NO_LINK and begun - self._begun >= BOOTS_WITHIN:
                    pause = NO_LINK_EVERY
            except (LinkRefused, LinkLost, LinkBusy, CallTimeout, CallFailed) as error:
                log.debug("measure.failed", release=self._managed.name, error=str(error))
            except Exception:
                log.exception("surprise", release=self._managed.name)
            if self._kept is None and begun - self._begun < BOOTS_WITHIN:
                pause = BOOTING_EVERY
            elif first:
                pause *= random.random()  # noqa: S311 the same: a hundred answers at a time take memory
            await self._pause(max(SOON, begun + pause - self._loop.time()))

    async def _pause(self, seconds: float) -> None:
        """Sleep that long, or until `rebooted`."""
        self._rest = self._loop.create_future()
        timer = self._loop.call_later(seconds, self.rebooted)
        try:
            await self._rest
        finally:
            timer.cancel()

    async def _measure(self) -> None:
        link = await self._watch.link()
        try:
            term = await link.run(_BATCH.of(link.node), timeout=FAST_TIMEOUT)
        except CallTimeout:
            self._watch.overloaded = f"overloaded: no answer at normal priority within {FAST_TIMEOUT:g} s"
            raise
        self._watch.overloaded = ""
        before = self._sample
        self._take(before, decode_batch(term, before, self._loop.time()))
        if self._loop.time() - self._slow_at >= SLOW_EVERY:
            self._slow_at = self._loop.time()
            await self._ask_slowly(link)

    def _take(self, before: Sample | None, sample: Sample) -> None:
        if before is not None and before.boot != sample.boot:
            self._thresholds, self._slow, self._slow_at = Watch(), None, float("-inf")
            self._runs = None
        self._kept = packed(sample)
        if sample.boot is not None:
            self._watch.recognise(sample.boot)
        self._thresholds, crossings = judge(self._thresholds, reading(sample), self._loop.time())
        for crossing in crossings:
            note = Note.THRESHOLD if crossing.raised else Note.THRESHOLD_CLEARED
            fields = {"name": crossing.name, "value": crossing.value, "limit": crossing.limit, "detail": crossing.text}
            self._history.report(self._managed.name, note, {"epoch": self._managed.state.epoch, **fields})

    async def _ask_slowly(self, link: Link) -> None:
        heard = self._runs
        outcomes = zip(SLOW, await link.run_all(_SLOW, timeout=_SLOW_TIMEOUT), strict=True)
        answers = {key: said for key, said in outcomes if not isinstance(said, BaseException)}  # no sasl, or busy
        self._slow = decode_slow(answers, self._slow)
        if self._runs == heard and "releases" in answers:
            self._runs = None
