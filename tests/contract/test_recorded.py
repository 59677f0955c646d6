"""States that older releases saved are understood: each field, and what follows."""

import io
import zipfile

import jax
import numpy as np
import pytest

from tests.contract.recorded import FOLDER, STOP, leaves_of
from tests.contract.resuming import case_of
from tests.contract.test_optimizers import assert_close, gradient, run_of

FILES = sorted(FOLDER.glob("*.zip"))


def recorded():
    for path in FILES:
        with zipfile.ZipFile(path) as file:
            for name in file.namelist():
                case = case_of(name.removesuffix(".npz"))
                marks = pytest.mark.full if case.is_slow else ()
                id = f"{path.stem}-{case.name}"
                yield pytest.param(path, name, case, marks=marks, id=id)


def test_there_is_one():
    assert FILES


@pytest.mark.parametrize(("path", "name", "case"), list(recorded()))
def test_goes_on_from_what_was_recorded(path, name, case):
    with zipfile.ZipFile(path) as file, np.load(io.BytesIO(file.read(name))) as data:
        then = dict(data)
    kept = run_of(case)
    now = {f"state{key}": x for key, x in leaves_of(kept.states[0]).items()}
    state = {key: x for key, x in then.items() if key.startswith("state")}
    assert state.keys() == now.keys()
    for key, x in state.items():
        assert (x.dtype, x.shape) == (now[key].dtype, now[key].shape), key
    state = jax.tree.structure(kept.states[0]).unflatten([state[key] for key in now])
    u, _ = kept.update(gradient(kept.params, STOP), state, kept.params)
    u = {f"update{key}": x for key, x in leaves_of(u).items()}
    assert_close(u, {key: x for key, x in then.items() if key.startswith("update")})
