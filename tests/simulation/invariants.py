"""What must hold: after every rule, once everything is healed, and after a replay of everything from offset 0."""

from collections import Counter
from typing import Any

from schemas.chunks import chunk_ids, chunk_specs
from schemas.events import JobFinished, JobState
from schemas.ids import chunk_object_key, event_id, video_object_key
from schemas.lifecycle import TERMINAL
from schemas.plan import Plan
from schemas.request import LANES
from schemas.topics import (
    CHUNKS_INSPECTED,
    JOBS_FINISHED,
    JOBS_STATE,
    MUX_TASKS,
    PLANS_READY,
    REVIEWS_DECIDED,
    USAGE_LEDGER,
    USAGE_METERED,
)
from tests.simulation.log import Place
from tests.simulation.media import ChunkFile, expected
from tests.simulation.tables import seen
from tests.simulation.world import Violation, World


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


class Checker:
    def __init__(self, world: World) -> None:
        self._world = world
        self._offsets: dict[tuple[str, Place], int] = {}
        self._read: dict[Place, int] = {}
        self.finished: dict[str, JobFinished] = {}
        self._metered: Counter[str] = Counter()
        self._usage_ids: set[str] = set()
        self._paid_s: Counter[str] = Counter()
        self._folded: dict[str, int] = {}
        self._puts = 0

    # ---- after every rule ------------------------------------------------------------------------------------------

    def step(self) -> None:
        self._no_letters()
        require(not self._world.store.overwritten, f"objects were overwritten: {self._world.store.overwritten}")
        self._one_end_each()
        self._each_state_follows_the_last()
        self._nothing_after_the_end()
        self._offsets_pass_only_what_is_done()

    def _no_letters(self) -> None:
        require(not self._world.buried, f"dead letter of a sound record: {self._world.buried[:1]}")

    def _one_end_each(self) -> None:
        """I1, I3: one terminal record and one of usage per job, as a reader of committed records sees them."""
        for _, finished in self._new(JOBS_FINISHED.entity):
            known = self.finished.get(finished.job)
            require(
                known is None, f"{finished.job}: two terminal records, {known and known.state} and {finished.state}"
            )
            self.finished[finished.job] = finished
        for _, usage in self._new(USAGE_METERED.entity):
            require(usage.id not in self._usage_ids, f"{usage.job}: metered twice as {usage.id}")
            self._usage_ids.add(usage.id)
            self._paid_s[usage.job] += usage.device_s
            self._metered[usage.job] += usage.id == event_id("usage", usage.job)

    def _each_state_follows_the_last(self) -> None:
        """One owner folds a job after another, each from the last row: none starts from an older one."""
        for job, state in self._new(JOBS_STATE.entity):
            last = self._folded.pop(job, 0)
            if state is not None:
                require(state.sequence >= last, f"{job}: state {state.sequence} was written after state {last}")
                self._folded[job] = state.sequence

    def _new(self, topic: str) -> list[tuple[str, Any]]:
        """(key, value) of each committed record that is new since the last call."""
        log, out = self._world.log, []
        for place in log.places(topic):
            while True:
                offset, entry = log.next(place, self._read.get(place, 0), committed_only=True)
                self._read[place] = offset if entry is None else offset + 1
                if entry is None:
                    break
                out.append((entry.key, entry.value))
        return out

    def _nothing_after_the_end(self) -> None:
        """I4: no video appears for a job that was said to have ended without one."""
        names = {video_object_key(job, "video.mp4"): job for job in self._world.jobs}
        for key in self._world.video_puts[self._puts :]:
            finished = self.finished.get(names[key])
            if finished is not None and finished.state != "completed":
                raise Violation(f"{finished.job}: video published after it was said to be {finished.state}")
            tasks = [e for e in self._world.log.read(MUX_TASKS.entity) if e.key == names[key]]
            require(bool(tasks), f"{names[key]}: video published, and the scheduler never decided so")
            self._moderated(names[key], self._world.store.objects[key].content.chunks)
        self._puts = len(self._world.video_puts)

    def _moderated(self, job: str, chunks: tuple[str, ...]) -> None:
        """Nothing leaves uninspected: every chunk object in a video was allowed, by the provider or by a person, as
        these very bytes."""
        results = [e.value for e in self._world.log.read(CHUNKS_INSPECTED.entity)]
        allowed = {r.rendered.object.sha256 for r in results if r.verdict is not None and r.verdict.verdict == "allow"}
        decisions = [e.value for e in self._world.log.read(REVIEWS_DECIDED.entity) if e.key == job]
        allowed |= {name for d in decisions if d.verdict == "approve" for name in d.objects}
        require(set(chunks) <= allowed, f"{job}: its video holds a chunk that was never allowed")

    def _offsets_pass_only_what_is_done(self) -> None:
        """I5."""
        world = self._world
        for (group, place), committed in world.log.committed.items():
            at = self._offsets.get((group, place), 0)
            if committed > at:
                done = world.done.get((group, place), set())
                for offset in range(at, committed):
                    entry = world.log.partitions[place][offset]
                    passed = entry.committed and offset not in done
                    require(not passed, f"{group} committed {place[0]}[{place[1]}]@{offset} before it was done with")
            self._offsets[group, place] = committed

    # ---- once everything is healed ---------------------------------------------------------------------------------

    def told(self) -> bool:
        """Has every job that was asked for ended?"""
        self._one_end_each()
        return len(self.finished) == len(self._world.jobs)

    def healed(self) -> None:
        """I1 to I4 from outside: terminal records, states, usage, objects, frames, replies, webhooks."""
        self.step()
        log = self._world.log
        states: dict[str, JobState] = seen(log, log.places(JOBS_STATE.entity))
        for job in self._world.jobs:
            require(
                job in self.finished, f"{job}: no terminal record; its state is {job in states and states[job].state}"
            )
            finished, state = self.finished[job], states[job]
            require(state.state == finished.state, f"{job}: state {state.state}, terminal record {finished.state}")
            require(state.state in TERMINAL, f"{job}: {state.state} is not terminal")
            require(self._metered[job] == 1, f"{job}: metered {self._metered[job]} times")
            if finished.state == "completed":
                self._video(job, state)
            else:
                self._no_video(job, finished)
            self._replies(job, finished)
        require(not self._world.open_cases(), f"{self._world.open_cases()[:1]}: all jobs are over, and this one waits")
        self._accounts()
        self._chunks()
        self._webhooks()

    def _accounts(self) -> None:
        """What is metered of a job, and in the ledger, is what workers reported for it, each report counted once."""
        reports = {
            (r.job, r.worker_id, r.chunk_id, r.index, r.attempt, r.dispatched_at_ms, r.device_s)
            for r in (entry.value.rendered for entry in self._world.log.read(CHUNKS_INSPECTED.entity))
        }
        spent_s: Counter[str] = Counter()
        for job, *_, device_s in reports:
            spent_s[job] += device_s
        booked_s, reserved_s = Counter[str](), Counter[str]()
        for entry in self._world.log.read(USAGE_LEDGER.entity):
            booked_s[entry.key] += entry.value.spent_s
            reserved_s[entry.key] += entry.value.reserved_s
        for job in self._world.jobs:
            require(abs(reserved_s[job]) < 1e-6, f"{job} is over, and {reserved_s[job]} s are still reserved for it")
            # What a second request under the id had cost when it ended by itself is in nobody's account.
            if self._world.bodies[job] == 1:
                paid_s = self._paid_s[job]
                require(
                    abs(paid_s - spent_s[job]) < 1e-6, f"{job}: {paid_s} s are metered, {spent_s[job]} s were spent"
                )
                require(
                    abs(booked_s[job] - paid_s) < 1e-6, f"{job}: {paid_s} s metered, {booked_s[job]} s in the ledger"
                )

    def _plan(self, job: str, mark: str) -> Plan:
        for lane in LANES:
            for entry in self._world.log.read(PLANS_READY[lane].entity):
                if entry.key == job and entry.value.fingerprint == mark:
                    plan: Plan = entry.value
                    return plan
        raise Violation(f"{job}: completed without a plan of its request")

    def _video(self, job: str, state: JobState) -> None:
        """I2: one object, whose frames are those of the request that was accepted, in order."""
        stored = self._world.store.objects.get(video_object_key(job, "video.mp4"))
        require(stored is not None and state.video is not None, f"{job}: completed, and there is no video")
        assert stored is not None
        assert state.video is not None
        require(stored.info.sha256 == state.video.file.sha256, f"{job}: the record names another video than is stored")
        request = self._world.requests[state.fingerprint]
        plan = self._plan(job, state.fingerprint)
        wanted, found = expected(request, plan, chunk_ids(plan)), stored.content.frames
        require(
            len(found) == state.video.frames == len(wanted), f"{job}: {len(found)} frames, {len(wanted)} were asked for"
        )
        wrong = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if not _same(a, b)), None)
        if wrong is not None:
            raise Violation(f"{job}: frame {wrong} shows {found[wrong]}, not {wanted[wrong]}")
        for name in ("thumbnail.jpg", "contact-sheet.png"):
            require(video_object_key(job, name) in self._world.store.objects, f"{job}: no {name}")

    def _no_video(self, job: str, finished: JobFinished) -> None:
        key = video_object_key(job, "video.mp4")
        require(key not in self._world.store.objects, f"{job}: {finished.state}, and its video lies in the store")

    def _replies(self, job: str, finished: JobFinished) -> None:
        topic = finished.reply_topic
        told = [e.value for e in self._world.log.read(topic) if e.value.job == job and e.value.result is not None]
        require(bool(told), f"{job}: its caller was never told of the end")
        require(len({r.id for r in told}) == 1, f"{job}: its end was told under several ids")
        states = {r.result.state for r in told}
        require(states == {finished.state}, f"{job}: told {states}, ended as {finished.state}")

    def _chunks(self) -> None:
        """Every chunk object that a plan names holds what its spec promises, from its predecessor's last frames."""
        store = self._world.store
        plans = [e.value for lane in LANES for e in self._world.log.read(PLANS_READY[lane].entity)]
        for plan in plans:
            for name, spec in zip(chunk_ids(plan), chunk_specs(plan), strict=True):
                stored = store.objects.get(chunk_object_key(spec.tenant, name))
                if stored is None or stored.corrupt:
                    continue
                file: ChunkFile = stored.content
                wanted = tuple((name, spec.prompt, spec.first_frame + i) for i in range(spec.frames))
                require(file.frames == wanted, f"chunk {name[:8]} holds other frames than its spec says")
                given = {frame[0] for frame in file.given}
                right = {spec.given_chunk} if spec.given_frames else set()
                require(given == right, f"chunk {name[:8]} was started from {given}, not {right}")

    def _webhooks(self) -> None:
        for job, finished in self.finished.items():
            if finished.webhook is not None:
                posts = [(name, status) for name, of, status in self._world.posts if of == job]
                require(any(status == 200 for _, status in posts), f"{job}: its webhook was never delivered")
                require(len({name for name, _ in posts}) == 1, f"{job}: webhook under several ids")

    # ---- after a replay --------------------------------------------------------------------------------------------

    def picture(self) -> dict[str, Any]:
        """What a replay may not change."""
        objects = {
            key: (stored.info.sha256, stored.corrupt)
            for key, stored in self._world.store.objects.items()
            if key not in self._world.store.spoilt
        }
        return {"objects": objects, "ends": dict(self.finished)}

    def replayed(self, before: dict[str, Any]) -> None:
        """A replay changes no object and adds no video and no terminal record."""
        self.healed()
        after = self.picture()
        require(after["ends"] == before["ends"], "a replay changed the terminal records")
        for key, content in before["objects"].items():
            require(after["objects"].get(key) == content, f"a replay changed or removed {key}")
        new = [key for key in after["objects"] if key not in before["objects"]]
        require(not any(key.startswith("videos/") for key in new), f"a replay published {new}")


def _same(found: Any, wanted: Any) -> bool:
    if len(found) != len(wanted) or not isinstance(wanted[0], tuple):
        return bool(found == wanted)
    return bool(found[:2] == wanted[:2] and abs(found[2] - wanted[2]) < 1e-9)
