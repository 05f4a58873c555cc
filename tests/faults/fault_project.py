"""A project whose roles run as processes of their own, and may be struck in any way.

What it holds at the end is counted twice: by `headrace verify`, and from the sources' bytes and the
tables' files, without headrace's code.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from faults.lake_counts import LakeFiles, difference
from faults.project_files import Settings, write_project
from faults.proxy import FaultyProxy
from faults.role_slots import KafkaSlot, Slot
from faults.source_files import STREAMS, SourceFiles
from headrace.config_file import load_config
from headrace.producers.delivery import DeliveryRow
from headrace.producers.ledger.listing import list_deliveries
from parts.processes import accepts_connections, free_port
from parts.s3 import S3Server
from parts.small_disk import SmallDisk
from parts.turned_clock import TurnedClock
from support.cli_project import command, environment
from support.produce_project import lasting_port
from support.source_ids import Id, differences

# Dagster takes seconds to start: what it calls is called here.
_REFRESH = """\
import select, sys
from headrace import Project
from headrace.errors import HeadraceError
while True:
    try:
        Project(sys.argv[1]).refresh()
    except HeadraceError as error:
        print("refresh:", error, flush=True)
    select.select([], [], [], 0.5)  # also while the clock is turned
"""
# The command, with clients sent to a proxy.
_BROKER = """\
import sys
from functools import partial
from headrace.infra.broker import settings
port = int(sys.argv.pop(1))
settings.BrokerSettings = partial(settings.BrokerSettings, advertised_port=port)
from headrace.cli.main import main
main()
"""
SETTLE_SECONDS = 180.0
_TICK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Combo:
    """A broker (`embedded` or `kafka`) and a store (`local` or `s3`)."""

    broker: str
    store: str

    def __str__(self) -> str:
        return f"{self.broker}+{self.store}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    `problems`: in words, none where all is well. `flaws`: nothing is wrong with the records, but
    something was with a role, so far.
    """

    records: int
    lost: int
    doubled: int
    took: str
    problems: tuple[str, ...] = ()
    flaws: tuple[str, ...] = ()


class FaultProject:
    """One project with its roles; `tend` has to be called again and again."""

    def __init__(
        self, root: Path, combo: Combo, files: SourceFiles, store: S3Server | None, bucket: str
    ) -> None:
        self.root = root
        self.combo = combo
        self.files = files
        self.kills: Counter[str] = Counter()
        self._stack = ExitStack()
        self.store_proxy: FaultyProxy | None = None
        self.store = store
        # Where these are there from the beginning, they are not put under roles that run.
        self.clock: TurnedClock | None = None
        self.disks: dict[str, SmallDisk] = {}
        self._settings = Settings()
        self._lake = LakeFiles(str(root / "lake"), {})
        if store is not None:
            port = int(store.endpoint.rpartition(":")[2])
            self.store_proxy = self._stack.enter_context(FaultyProxy(port))
            self._lake = LakeFiles(f"s3://{bucket}/lake", store.storage_options)
            self._settings = Settings(
                lake_uri=self._lake.uri,
                lake_options={
                    **store.storage_options,
                    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.store_proxy.port}",
                    "timeout": "4s",
                    "connect_timeout": "2s",
                },
            )
        # Clients are sent to the proxy whatever address they came by.
        self.broker_proxy = self._stack.enter_context(FaultyProxy(0))
        servers = f"127.0.0.1:{self.broker_proxy.port}"
        self.broker_port = self.broker_proxy.target_port = lasting_port()
        self.kafka: KafkaSlot | None = None
        if combo.broker == "kafka":
            folder = root.with_name(root.name + "-kafka")
            self.kafka = KafkaSlot(folder, self.broker_port, self.broker_proxy.port)
            self._stack.callback(self.kafka.stop)
            self._settings = replace(self._settings, bootstrap_servers=servers)
        self.write_config(self._settings)
        self.slots: dict[str, Slot] = {}
        self.producer_port = free_port()
        if combo.broker == "embedded":
            words = ["broker", *self._project, "--port", str(self.broker_port), "--no-http"]
            to_proxy = (sys.executable, "-P", "-c", _BROKER, str(self.broker_proxy.port))
            self._add("broker", [*to_proxy, *words])
        self._servers = ("--bootstrap-servers", servers)
        http = ("--http-port", str(self.producer_port))
        self._add("produce", command("produce", *self._project, *self._servers, *http))
        self.add_consumer()
        self._add("refresh", [sys.executable, "-P", "-c", _REFRESH, str(root)])

    @property
    def _project(self) -> tuple[str, str]:
        return "--project", str(self.root)

    @property
    def settings(self) -> Settings:
        """What the config says."""
        return self._settings

    def write_config(self, settings: Settings) -> None:
        """Write the config; roles read it when they start."""
        self._settings = settings
        write_project(self.root, settings)

    def go_by(self, clock: TurnedClock) -> None:
        """Have all roles go by this clock; before they start."""
        self.clock = clock
        for slot in self.slots.values():
            slot.env = {**slot.env, **clock.environment}

    def _add(self, name: str, words: list[str]) -> Slot:
        log = self.root.with_name(f"{self.root.name}-{name}.log")
        slot = Slot(name, words, log, environment())
        self.slots[name] = slot
        return slot

    # --- roles

    @property
    def consumers(self) -> list[Slot]:
        """The consumers that should run."""
        return [s for n, s in self.slots.items() if n.startswith("consume") and s.wanted]

    @property
    def running(self) -> list[str]:
        """The names of the roles that should run."""
        return [name for name, slot in self.slots.items() if slot.wanted]

    def add_consumer(self) -> None:
        """One more, or again."""
        for number in range(1, 9):
            name = f"consume-{number}"
            if name not in self.slots:
                words = command("consume", *self._project, *self._servers, "--no-http")
                self._add(name, words)
                return
            if not self.slots[name].wanted:
                self.slots[name].wanted = True
                return

    def kill(self, name: str) -> bool:
        """SIGKILL a role by its name; counted where it ran."""
        if name == "broker" and self.kafka is not None:
            self.kafka.kill()
            self.kills["broker (Kafka)"] += 1
            return True
        killed = self.slots[name].kill()
        if killed:
            self.kills[name.partition("-")[0]] += 1
        return killed

    def tend(self) -> None:
        """Start what is dead."""
        for slot in self.slots.values():
            slot.tend()

    def pass_time(self, seconds: float) -> None:
        """Let the roles work for so long, starting again what ends."""
        until = time.monotonic() + seconds
        while True:
            self.tend()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_TICK_SECONDS, left))

    def pass_time_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Let the roles work until it holds; whether it did, within so long."""
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until:
                return False
            self.pass_time(_TICK_SECONDS)
        return True

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Have these roles dead meanwhile."""
        for name in names:
            self.kill(name)
            self.slots[name].wanted = False
        try:
            yield
        finally:
            for name in names:
                self.slots[name].wanted = True

    def stop(self) -> None:
        """End everything."""
        for slot in self.slots.values():
            slot.terminate()
        for slot in self.slots.values():
            slot.stop()
        self._stack.close()

    # --- what a person asks of it

    def deliveries(self) -> list[DeliveryRow]:
        """The ledger's rows."""
        return list_deliveries(load_config(self.root).paths.ledger)

    def decide(self, action: str, delivery_id: str) -> str | None:
        """Have the producer carry out a decision; None when it is done, else why not."""
        question = {
            "until_landed": False,
            "decision": {"action": action, "delivery_ids": [delivery_id]},
        }
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{self.producer_port}/produce",
                json=question,
                timeout=30,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        last: dict[str, Any] = json.loads(answer.text.strip().splitlines()[-1])
        return None if last.get("kind") == "done" else str(last.get("message") or last)

    def _answers(self) -> bool:
        """Whether the producer listens, so that a question is with it."""
        return accepts_connections(self.producer_port)

    def decide_until_done(self, action: str, delivery_id: str, dice: random.Random) -> None:
        """Ask until it is done; the producer is killed meanwhile, not at all or once or twice."""
        asking = ThreadPoolExecutor(1)
        kills = dice.randint(0, 2)
        deadline = time.monotonic() + SETTLE_SECONDS
        kills = dice.choice((0, 1, 1, 2))
        try:
            while True:
                while not accepts_connections(self.producer_port):
                    self.pass_time(_TICK_SECONDS)
                answer = asking.submit(self.decide, action, delivery_id)
                if kills:
                    kills -= 1
                    self.pass_time(dice.uniform(0.0, 0.6))
                    self.kill("produce")
                while not answer.done():
                    self.pass_time(_TICK_SECONDS)
                said = answer.result()
                if said is None:
                    return
                assert time.monotonic() < deadline, f"{action} {delivery_id}: {said}"
                self.pass_time(0.2)
        finally:
            asking.shutdown()

    # --- what is left

    def settle(self) -> str | None:
        """Let all heal and land; None when it has, else what is missing after the deadline."""
        for slot in self.slots.values():
            slot.thaw()
        if not self.consumers:
            self.add_consumer()
        self.broker_proxy.heal()
        if self.store_proxy is not None:
            self.store_proxy.heal()
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            self.pass_time(0.5)
            missing = self._unsettled()
            if missing is None or time.monotonic() > deadline:
                return missing

    def _unsettled(self) -> str | None:
        rows = self.deliveries()
        known = {(row.source, row.name) for row in rows}
        waiting = [r for r in rows if r.state in ("received", "publishing", "published")]
        if len(known) < self.files.dropped:
            return f"{self.files.dropped - len(known)} files are not taken"
        if waiting:
            return f"{len(waiting)} deliveries have not landed, such as {waiting[0]}"
        expected = self.files.expected()
        for layer, ids in (("bronze", expected.bronze_ids), ("silver", expected.silver_ids)):
            count = sum(self._lake.rows(layer, stream) for stream in STREAMS)
            if count != ids.total():
                return f"{layer}: {count} rows, not {ids.total()}"
            lost, doubled = differences(ids, self.ids(layer))
            if lost or doubled:
                return f"{layer}: {lost} lost, {doubled} doubled"
        return None

    def check(self) -> Checked:
        """Settle, have `verify` say that all is well, and count."""
        began = time.monotonic()
        unsettled = self.settle()
        healed = time.monotonic()
        problems = [] if unsettled is None else [unsettled]
        verified = self._verified()  # and by now gold is as fresh as silver
        counting = time.monotonic()
        if verified is not None:
            problems.append(verified)
        expected = self.files.expected()
        differs = difference(expected, self._lake.counts(STREAMS))
        problems += differs.where
        flaws = [flaw for slot in self.slots.values() for flaw in slot.flaws()]
        records = expected.bronze_ids.total()
        took = f"healed {healed - began:.0f} s, verified {counting - healed:.0f} s"
        took += f", counted {time.monotonic() - counting:.0f} s"
        return Checked(records, differs.lost, differs.doubled, took, tuple(problems), tuple(flaws))

    def _verified(self) -> str | None:
        """What `headrace verify` says; asked again, as gold may be behind for a moment."""
        said = ""
        for _ in range(20):
            done = subprocess.run(
                command("verify", *self._project),
                capture_output=True,
                text=True,
                env=environment(),
                stdin=subprocess.DEVNULL,
                timeout=120,
            )
            if done.returncode == 0:
                return None
            said = f"verify: exit code {done.returncode}: {done.stdout}{done.stderr}"
            self.pass_time(0.5)
        return said

    def ids(self, layer: str) -> Counter[Id]:
        """The ids in the tables of a layer, from their files."""
        ids: Counter[Id] = Counter()
        for stream in STREAMS:
            ids += self._lake.ids(layer, stream)
        return ids

    def wipe_broker(self) -> None:
        """The embedded broker's folder, gone."""
        shutil.rmtree(self.root / ".headrace" / "broker", ignore_errors=True)
