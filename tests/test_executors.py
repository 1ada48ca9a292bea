"""Who does the work changes nothing: threads, processes, a cluster, the killed."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    CancelledError,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from dataclasses import fields
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import captum_dynamics as cd
from captum_dynamics._execution import run_units, work_units
from tests import units

ROWS = 30
WIDTH = 24
UNIT = 5 * 4 * 8 * WIDTH**2  # bytes of five rows: six units
EVERYONE = pytest.mark.parametrize("who", ["threads", "processes", "dask"])
HERE = os.getpid()


@pytest.fixture(scope="module", autouse=True)
def _one_thread_of_torch() -> Iterator[None]:
    """As the workers have: two threads add up in another order than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def process_pool(workers: int, method: str = "spawn") -> ProcessPoolExecutor:
    context = get_context(method)
    if method == "fork":  # keeps the threads of this process
        return ProcessPoolExecutor(workers, mp_context=context)
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    )


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with process_pool(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    distributed = pytest.importorskip(
        "distributed", reason='dask is absent: pip install "dask[distributed]"'
    )
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path_factory.mktemp("dask")),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        yield executor


@pytest.fixture
def executor(request: pytest.FixtureRequest, who: str) -> Executor:
    pool: Executor = request.getfixturevalue(who)
    return pool


def chaotic() -> cd.RecurrentAdapter:
    """A random tanh net with several fixed points."""
    torch.manual_seed(3)
    rnn = torch.nn.RNN(2, WIDTH)
    with torch.no_grad():
        rnn.weight_hh_l0.normal_(0, 2.5 / WIDTH**0.5)
    return cd.adapt(rnn)


def searched(
    dynamics: cd.RecurrentAdapter, executor: Executor | None = None, **settings: Any
) -> cd.FixedPoints:
    """Points from thirty starts, in six units."""
    draw = torch.Generator().manual_seed(0)
    return cd.find_fixed_points(
        dynamics,
        2 * torch.rand(ROWS, WIDTH, dtype=torch.float64, generator=draw) - 1,
        torch.zeros(1, 2),
        executor=executor,
        budget=UNIT,
        **settings,
    )


def stepped(step: Callable[[Tensor, Tensor], Tensor]) -> cd.FunctionAdapter:
    """A map of one's own."""
    return cd.FunctionAdapter(step, WIDTH, 2)


def identical(one: cd.FixedPoints, other: cd.FixedPoints) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
    return all(torch.equal(*pair) for pair in pairs)


@EVERYONE
def test_results_are_the_same_to_the_last_bit_whoever_searches(
    executor: Executor,
) -> None:
    dynamics = chaotic()
    alone, together = searched(dynamics), searched(dynamics, executor)
    assert len(alone[alone.converged].unique()) > 3
    assert identical(alone, together)


@given(rows=st.integers(0, 5000), width=st.integers(1, 400), mib=st.integers(1, 600))
def test_units_follow_one_another_and_fit_the_budget(
    rows: int, width: int, mib: int
) -> None:
    per_row, budget = 32 * width**2, mib * 2**20
    cut = work_units(rows, per_row, budget)
    assert [n for unit in cut for n in range(unit.start, unit.stop)] == list(
        range(rows)
    )
    sizes = {unit.stop - unit.start for unit in cut[:-1]}
    assert len(sizes) <= 1
    assert all(size * per_row <= max(budget, per_row) for size in sizes)


def when_begun(path: Path, act: Callable[[], None]) -> threading.Thread:
    """Act from another thread as soon as a worker has left its trace."""

    def wait_and_act() -> None:
        while not path.exists():
            time.sleep(0.01)
        act()

    waiting = threading.Thread(target=wait_and_act, daemon=True)
    waiting.start()
    return waiting


def kill_victim(folder: Path) -> None:
    victim = int((folder / "victim").read_text())
    assert victim != HERE
    os.kill(victim, signal.SIGKILL)


def test_a_killed_worker_of_a_cluster_costs_time_and_no_point(
    dask: Executor, tmp_path: Path
) -> None:
    dynamics, doomed = chaotic(), units.Doomed(str(tmp_path), HERE)
    killer = when_begun(tmp_path / "victim", partial(kill_victim, tmp_path))
    points = searched(dynamics, dask, solver=doomed)
    assert not killer.is_alive()
    assert identical(points, searched(dynamics))


def test_what_a_broken_pool_left_is_done_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dynamics, doomed = chaotic(), units.Doomed(str(tmp_path), HERE)
    alone = searched(dynamics)
    with process_pool(1) as pool:
        killer = when_begun(tmp_path / "victim", partial(kill_victim, tmp_path))
        with pytest.warns(cd.ExecutionWarning, match="6 of 6 units.*in this process"):
            points = searched(dynamics, pool, solver=doomed, show_progress=True)
        assert not killer.is_alive()
        assert identical(points, alone)
        assert "/6" in capsys.readouterr().err
        # A pool that is known to be broken takes no work at all.
        with pytest.warns(cd.ExecutionWarning) as caught:
            assert identical(searched(dynamics, pool), alone)
    if "CAPTUM_DYNAMICS_SHAPES" not in os.environ:
        assert caught[0].filename == __file__


@EVERYONE
def test_an_error_of_the_users_step_is_raised_as_it_is(executor: Executor) -> None:
    with pytest.raises(units.UserError, match=r"no step from \(5, 24\) and \(5, 2\)"):
        searched(stepped(units.faulty_step), executor)


def work_rests(folder: Path) -> bool:
    """Whether nothing more is begun, once what had been begun is done."""
    time.sleep(0.5)
    begun = len(list(folder.iterdir()))
    time.sleep(0.5)
    return begun == len(list(folder.iterdir())) < 60


@EVERYONE
def test_the_first_error_ends_the_work(executor: Executor, tmp_path: Path) -> None:
    work = [(number, str(tmp_path)) for number in range(60)]
    with pytest.raises(units.UserError, match="is not to be squared"):
        run_units(units.fail_from_two_on, work, executor, show=False, desc="Squares")
    assert work_rests(tmp_path)


@pytest.fixture
def _heeding_interruptions() -> Iterator[None]:
    """A shell starts what it puts in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@EVERYONE
@pytest.mark.usefixtures("_heeding_interruptions")
def test_an_interruption_cancels_what_waits(executor: Executor, tmp_path: Path) -> None:
    work = [(number, str(tmp_path)) for number in range(60)]
    when_begun(tmp_path / "0", partial(os.kill, HERE, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_units(units.slow_square, work, executor, show=False, desc="Squares")
    # The same work, asked for again at once, is done.
    again = run_units(units.slow_square, work[:3], executor, show=False, desc="Squares")
    assert again == [0, 1, 4]
    assert work_rests(tmp_path)


def test_work_that_somebody_else_cancels_says_so(tmp_path: Path) -> None:
    work = [(number, str(tmp_path)) for number in range(20)]
    executor = ThreadPoolExecutor(1)
    when_begun(tmp_path / "0", partial(executor.shutdown, cancel_futures=True))
    with pytest.raises(CancelledError, match="`executor` was given: it was shut down"):
        run_units(units.slow_square, work, executor, show=False, desc="Squares")


def test_an_executor_that_is_shut_down_while_work_is_sent_says_so() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(CancelledError, match="`executor` was given: it was shut down"):
        run_units(pow, [(2, 3)], executor, show=False, desc="Powers")


@EVERYONE
def test_progress_counts_the_units_of_all_workers(
    executor: Executor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = [(number, str(tmp_path)) for number in range(6)]
    squares = run_units(units.slow_square, work, executor, show=True, desc="Squares")
    assert squares == [0, 1, 4, 9, 16, 25]
    shown = capsys.readouterr().err
    assert "Squares" in shown
    assert "0/6" in shown
    assert any(f"{done}/6" in shown for done in (4, 5, 6))


def test_a_lambda_is_sent_to_a_cluster(dask: Executor) -> None:
    dynamics = cd.FunctionAdapter(lambda h, x: torch.tanh(2 * h + x), 1, 1)
    starts = torch.tensor([[-1.0], [0.1], [1.0]], dtype=torch.float64)
    alone, sent = (
        cd.find_fixed_points(dynamics, starts, torch.zeros(1, 1), executor=executor)
        for executor in (None, dask)
    )
    assert len(sent.unique()) == 3
    assert identical(alone, sent)


def test_a_lambda_is_refused_by_a_process_pool_in_one_sentence(
    processes: Executor,
) -> None:
    with pytest.raises(
        TypeError, match=r"got .*lambda.*: define functions.*module level.*or dask\.$"
    ):
        searched(stepped(lambda h, x: torch.tanh(h)), processes)


def test_a_step_that_a_process_cannot_import_is_refused_in_one_sentence(
    processes: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = ModuleType("only_here")
    exec("def step(h, x): return h.tanh()", vars(notebook))
    monkeypatch.setitem(sys.modules, "only_here", notebook)
    with pytest.raises(TypeError, match=r"got No module named 'only_here'.*or dask"):
        searched(stepped(notebook.step), processes)
    # The pool is none the worse for it.
    dynamics = chaotic()
    assert identical(searched(dynamics, processes), searched(dynamics))


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_forked_processes_with_threads_are_refused_before_they_hang() -> None:
    torch.set_num_threads(2)
    try:
        with (
            process_pool(1, "fork") as forked,
            pytest.raises(RuntimeError, match="got forked ones with 2 torch threads"),
        ):
            searched(chaotic(), forked)
    finally:
        torch.set_num_threads(1)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="cannot count files")
def test_tensors_that_come_back_hold_no_files_open(processes: Executor) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    run_units(torch.ones, [(1,)], processes, show=False, desc="Ones")
    before = open_files()
    sent = torch.rand(40, 3)
    work = [(sent[row],) for row in range(40)]
    kept = run_units(torch.exp, work, processes, show=False, desc="Exponentials")
    assert torch.equal(torch.stack(kept), sent.exp())
    assert open_files() <= before + 5
    assert not sent.is_shared()


def test_a_row_travels_without_the_matrix_it_looks_into() -> None:
    sizes: list[int] = []

    class Weighing(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            sizes.append(sum(item.untyped_storage().nbytes() for item in args[2:]))
            return super().submit(fn, *args, **kwargs)

    work = [(row,) for row in torch.rand(10, 3, dtype=torch.float64)]
    with Weighing(1) as executor:
        run_units(torch.exp, work, executor, show=False, desc="Exponentials")
    assert sizes == [3 * 8] * 10


@pytest.mark.misuse
def test_a_client_is_not_an_executor() -> None:
    with pytest.raises(TypeError, match=r"`executor` to be.*got dict.*get_executor"):
        searched(chaotic(), {})  # type: ignore[arg-type]
