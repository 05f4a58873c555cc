"""What the supervisor does next, whatever happens to its roles; no process is started here."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.config_file import load_config
from headrace.infra.file_sd import scrape_targets
from headrace.infra.restarts import RestartPolicy
from headrace.infra.role_process import Role, RoleMessage
from headrace.infra.supervisor_plan import RolePlan, UpPlan, plan_up
from headrace.infra.supervisor_state import SupervisorState


def config_of(folder: Path, text: str = "") -> Config:
    (folder / "headrace.toml").write_text(f'[project]\nname = "shop"\n{text}')
    return load_config(folder)


@pytest.fixture
def plan(tmp_path: Path) -> UpPlan:
    return plan_up(config_of(tmp_path), page_port=3000)


class Roles:
    """A supervisor's state, with processes that are numbers and a clock that is set."""

    def __init__(self, plan: UpPlan) -> None:
        self.state = SupervisorState(plan.roles)
        self.now = 0.0
        self.pids: dict[Role, int] = {}

    def start_due(self) -> list[Role]:
        """Start what is due; the roles' names."""
        due = [plan.role for plan in self.state.due(self.now)]
        for role in due:
            self.pids[role] = max(self.pids.values(), default=100) + 1
            self.state.started(role, self.pids[role])
        return due

    def hear(self, role: Role, kind: str, **data: object) -> None:
        self.state.heard(RoleMessage(role, self.pids[role], kind, data), self.now)

    def all_ready(self) -> None:
        while due := self.start_due():
            for role in due:
                self.hear(role, "ready")

    def state_of(self, role: Role) -> str:
        return next(s.state for s in self.state.services() if s.role == role)

    def wait_and_start(self) -> tuple[float, list[Role]]:
        """Seconds until something is due, and what then is started."""
        delay = self.state.seconds_to_next(self.now)
        assert delay is not None
        assert self.state.due(self.now + delay * 0.99) == []
        self.now += delay
        return delay, self.start_due()


def test_the_broker_is_ready_before_the_others_start_together(plan: UpPlan) -> None:
    roles = Roles(plan)
    assert roles.start_due() == ["broker"]
    assert roles.start_due() == []
    assert roles.state.seconds_to_next(0.0) is None
    roles.hear("broker", "ready")
    assert roles.start_due() == ["consume", "produce", "orchestrate"]
    assert not roles.state.health().ok
    for role in ("consume", "produce", "orchestrate"):
        roles.hear(role, "ready")
    assert roles.state.health().ok


def test_a_broker_elsewhere_is_not_started(tmp_path: Path) -> None:
    config = config_of(tmp_path, '[broker]\nbootstrap_servers = "kafka:9092"\n')
    plan = plan_up(config, page_port=3000)
    assert Roles(plan).start_due() == ["consume", "produce", "orchestrate"]
    consume = next(one for one in plan.roles if one.role == "consume")
    assert consume.arguments[:2] == ("--bootstrap-servers", "kafka:9092")


def test_all_ports_differ_and_the_brokers_reaches_its_clients(plan: UpPlan) -> None:
    ports = {one.role: one.port for one in plan.roles}
    used = [*ports.values(), *(one.http_port for one in plan.roles), plan.http_port]
    # consume and produce have one port each, named twice
    assert len(set(used)) == len(used) - 2
    assert ports["orchestrate"] == 3000
    for one in plan.roles:
        if one.role in {"consume", "produce"}:
            assert f"127.0.0.1:{ports['broker']}" in one.arguments
        assert one.arguments[-2:] == ("--http-port", str(one.http_port))


def test_a_configured_broker_port_is_kept(tmp_path: Path) -> None:
    plan = plan_up(config_of(tmp_path, "[broker]\nport = 19092\n"), page_port=3000)
    assert plan.roles[0].arguments[:2] == ("--port", "19092")


def test_ports_are_picked_besides_those_already_promised(tmp_path: Path) -> None:
    offers: list[int] = []

    def pick(*, besides: Collection[int]) -> int:
        assert 3000 in besides
        assert set(offers) <= set(besides)
        offers.append(20_000 + len(offers))
        return offers[-1]

    plan_up(config_of(tmp_path), page_port=3000, pick=pick)
    assert len(offers) == 6


def test_a_role_that_dies_is_started_again_with_its_reason_kept(plan: UpPlan) -> None:
    roles = Roles(plan)
    roles.all_ready()
    roles.hear("consume", "exit", code=-9)
    assert roles.state_of("consume") == "restarting"
    assert roles.state.health().reason == "consume is restarting (killed by SIGKILL)"
    assert roles.wait_and_start() == (0.2, ["consume"])
    roles.hear("consume", "ready")
    service = next(s for s in roles.state.services() if s.role == "consume")
    assert (service.state, service.restarts) == ("running", 1)
    assert service.reason == "killed by SIGKILL"
    assert roles.state.health().ok


def test_the_error_a_role_told_is_its_reason(plan: UpPlan) -> None:
    roles = Roles(plan)
    roles.start_due()
    roles.hear("broker", "error", message="port 9092 is in use", exit_code=2)
    roles.hear("broker", "exit", code=2, last_words="something printed")
    assert "port 9092 is in use" in str(roles.state.health().reason)
    roles.wait_and_start()
    roles.hear("broker", "exit", code=1, last_words="KeyError: 'x'")
    assert "ended with exit code 1: KeyError: 'x'" in str(roles.state.health().reason)


def test_restarts_double_to_half_a_minute_and_never_end(plan: UpPlan) -> None:
    roles = Roles(plan)
    delays = []
    roles.start_due()
    for _ in range(200):
        roles.hear("broker", "exit", code=1)
        delay, started = roles.wait_and_start()
        assert started == ["broker"]
        delays.append(round(delay, 6))
    assert delays[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert set(delays[8:]) == {30.0}


def test_a_minute_of_health_makes_the_next_restart_quick_again(plan: UpPlan) -> None:
    roles = Roles(plan)
    roles.all_ready()
    for _ in range(4):
        roles.hear("produce", "exit", code=1)
        roles.wait_and_start()
    roles.now += 600  # it lived, but never did its work
    roles.hear("produce", "exit", code=1)
    delay, _ = roles.wait_and_start()
    assert delay == pytest.approx(3.2)
    roles.hear("produce", "ready")
    roles.now += 59
    roles.hear("produce", "exit", code=1)
    delay, _ = roles.wait_and_start()
    assert delay == pytest.approx(6.4)
    roles.hear("produce", "ready")
    roles.now += 60
    roles.hear("produce", "exit", code=1)
    delay, _ = roles.wait_and_start()
    assert delay == pytest.approx(0.2)


def test_roles_die_and_wait_each_by_itself(plan: UpPlan) -> None:
    roles = Roles(plan)
    roles.all_ready()
    for role in ("broker", "produce"):
        roles.hear(role, "exit", code=-9)
    roles.now += 0.1
    roles.hear("consume", "exit", code=-9)
    assert roles.start_due() == []
    roles.now = 0.2
    assert roles.start_due() == ["broker", "produce"]
    assert roles.wait_and_start()[1] == ["consume"]


def test_what_a_former_process_says_is_of_no_interest(plan: UpPlan) -> None:
    roles = Roles(plan)
    roles.all_ready()
    before = roles.pids["consume"]
    roles.hear("consume", "exit", code=-9)
    roles.wait_and_start()
    roles.state.heard(RoleMessage("consume", before, "ready", {}), roles.now)
    roles.state.heard(RoleMessage("consume", before, "exit", {"code": 0}), roles.now)
    assert roles.state_of("consume") == "restarting"
    roles.hear("consume", "ready")
    assert roles.state_of("consume") == "running"


def test_a_role_that_the_system_refused_to_start_is_tried_again(plan: UpPlan) -> None:
    roles = Roles(plan)
    roles.state.not_started("broker", "cannot be started: no memory", 0.0)
    assert "no memory" in str(roles.state.health().reason)
    assert roles.wait_and_start() == (0.2, ["broker"])


def test_nothing_is_started_while_stopping(plan: UpPlan) -> None:
    roles = Roles(plan)
    roles.all_ready()
    roles.hear("produce", "exit", code=-9)  # waits to be started again
    roles.state.stop()
    roles.now += 600
    assert roles.start_due() == []
    assert {s.role: s.state for s in roles.state.services()} == {
        "broker": "stopping",
        "consume": "stopping",
        "orchestrate": "stopping",
    }
    roles.hear("consume", "exit", code=0)
    roles.hear("orchestrate", "ready")  # said before it heard that it has to end
    assert {s.role: s.state for s in roles.state.services()} == {
        "broker": "stopping",
        "orchestrate": "stopping",
    }
    assert not roles.state.health().ok


def test_prometheus_finds_each_role_with_its_labels(plan: UpPlan) -> None:
    targets = scrape_targets(plan.http_ports, project="shop")
    assert [t["labels"] for t in targets] == [
        {"project": "shop", "role": role}
        for role in ("supervisor", "broker", "consume", "produce", "orchestrate")
    ]
    assert targets[0]["targets"] == [f"127.0.0.1:{plan.http_port}"]


def test_a_pass_gives_up_where_up_does_not() -> None:
    giving_up, never = RestartPolicy(limit=2), RestartPolicy(limit=None)
    assert [giving_up.delay_after_death(t) for t in (0, 10, 20)] == [0.2, 0.4, None]
    assert [never.delay_after_death(t) for t in (0, 10, 20)] == [0.2, 0.4, 0.8]
    assert giving_up.delay_after_death(200) is not None  # deaths long ago do not count


def test_a_plan_says_where_metrics_are() -> None:
    plan = UpPlan((RolePlan("consume", (), 1, 2),), 3)
    assert plan.http_ports == {"supervisor": 3, "consume": 2}
