"""Training that takes long or that one process can't do: updates by rows, checkpoints, several workers.

``python -m course_utils.large.scaling SETTINGS RESULT`` is one of several processes that train one network
together. A notebook can't be one of them, so notebook 11 starts them with ``start_workers``.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from course_utils.large.streaming import about_ratings, rating_dataset
from course_utils.models import matrix_factorization
from course_utils.training import set_seed

import keras
import numpy as np
import tensorflow as tf

# --- Updates that touch only the rows of the batch ------------------------------------------------


@keras.saving.register_keras_serializable(package="course_utils")
class RowEmbedding(keras.layers.Embedding):
    """An Embedding that reads only the rows that it looks up, also after they were updated by rows.

    Keras' own looks up in the *value* of its variable. Once the variable has been updated in place by rows,
    TensorFlow copies the whole table for each such look-up (seen with Keras 3.15 on TensorFlow 2.21).
    """

    def call(self, inputs):
        """Return the rows ``inputs`` of the table."""
        return tf.gather(self.embeddings.value, inputs)


@keras.saving.register_keras_serializable(package="course_utils")
class RowAdam(keras.optimizers.Adam):
    """Adam that leaves alone the rows of a table that the batch did not look up ("lazy Adam").

    Two things differ from Keras' Adam, so a model trained with it has other figures:

    - Rows that were not looked up stay as they are. In Adam their momenta decay and still move them.
    - A row that a batch looks up several times has its gradients added before they are squared, as for a dense
      gradient. Keras 3.15 squares each of them and then adds, which gives such a row a larger step.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable; the gradient of a table comes as rows, some of them several times."""
        if not isinstance(gradient, tf.IndexedSlices):
            return super().update_step(gradient, variable, learning_rate)
        rows, place = tf.unique(gradient.indices)
        gradient = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
        index = self._get_variable_index(variable)
        momenta, velocities = self._momentums[index].value, self._velocities[index].value
        step = tf.cast(self.iterations + 1, gradient.dtype)
        alpha = tf.cast(learning_rate, gradient.dtype)
        alpha *= tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        m, v = tf.gather(momenta, rows), tf.gather(velocities, rows)
        m += (1 - self.beta_1) * (gradient - m)
        v += (1 - self.beta_2) * (tf.square(gradient) - v)
        momenta.scatter_update(tf.IndexedSlices(m, rows))
        velocities.scatter_update(tf.IndexedSlices(v, rows))
        variable.scatter_sub(tf.IndexedSlices(alpha * m / (tf.sqrt(v) + self.epsilon), rows))


def by_rows(model: keras.Model) -> keras.Model:
    """Return the same network with ``RowEmbedding`` in place of every Embedding, with new weights.

    Args:
        model: a functional model, for example ``models.matrix_factorization(...)``.
    """

    def copy(layer):
        kind = RowEmbedding if type(layer) is keras.layers.Embedding else type(layer)
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=copy)


# --- One step, for one process or several ---------------------------------------------------------


def make_step(model: keras.Model, optimizer: keras.optimizers.Optimizer, batch_size: int):
    """Return a function that trains on one batch and returns its loss: what ``model.fit`` does, written out.

    It works under any ``tf.distribute`` strategy, where ``model.fit`` of Keras 3 fails with several workers
    (keras issue 20585). Model and optimizer must have been made under the strategy, and the batches must come
    from ``strategy.experimental_distribute_dataset``.

    Args:
        model: inputs user_id and movie_id, output (batch, 1).
        optimizer: it adds up the gradients of all workers before it uses them.
        batch_size: ratings in a *global* batch, the parts of all workers together.
    """
    strategy = tf.distribute.get_strategy()
    workers = strategy.num_replicas_in_sync

    def on_one_worker(inputs, stars):
        with tf.GradientTape() as tape:
            error = stars - model(inputs, training=True)
            # Each worker divides by the size of the global batch. So the sum over the workers is the mean.
            loss = tf.reduce_sum(tf.square(error)) / batch_size
            # A penalty per look-up is a mean over the worker's own part already.
            loss += tf.add_n(model.losses or [0.0]) / workers
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    @tf.function(autograph=False)  # nothing here depends on the value of a tensor
    def step(batch):
        return strategy.reduce("SUM", strategy.run(on_one_worker, args=batch), axis=None)

    return step


class Checkpoints:
    """Store a training every few steps and go on from there: weights, Adam's momenta, the number of the step.

    The number of the step is also the position in the data, because the order of the batches depends on the
    seed alone (``streaming.rating_batches``). TensorFlow writes a checkpoint beside the old one and renames
    a small file at the end, so a process that dies while it writes leaves the old one in place.

    Args:
        model: the network.
        optimizer: its ``iterations`` count the steps.
        folder: where the checkpoints are. All workers must see the same folder.
        every: steps between two checkpoints.
        chief: False for all workers but the first: they save to a folder of their own, which nobody reads.
    """

    def __init__(self, model, optimizer, folder: str | Path, every: int, chief: bool = True):
        optimizer.build(model.trainable_variables)
        self.every, self.optimizer = every, optimizer
        self._state = tf.train.Checkpoint(model=model, optimizer=optimizer)
        self._folder, own = str(folder), folder if chief else tempfile.mkdtemp()
        self._manager = tf.train.CheckpointManager(self._state, str(own), max_to_keep=2)

    def restore(self) -> int:
        """Load the newest checkpoint, if there is one; return the number of steps done."""
        if newest := tf.train.latest_checkpoint(self._folder):
            self._state.restore(newest).assert_consumed()
        return int(tf.convert_to_tensor(self.optimizer.iterations.value))

    def after(self, step: int) -> None:
        """Save if it is time to: call it after every step with the number of steps done."""
        if step % self.every == 0:
            self._manager.save(checkpoint_number=step)


def train(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    folder: str | Path,
    *,
    batch_size: int,
    epochs: int = 1,
    seed: int = 0,
    checkpoints: Checkpoints | None = None,
) -> Iterator[tuple[int, float]]:
    """Train on the Parquet files of a folder and yield (steps done, loss) after every step.

    Args:
        model: inputs user_id and movie_id, output (batch, 1), made under the current strategy.
        optimizer: made under the current strategy.
        folder: what ``streaming.write_ratings`` wrote.
        batch_size: ratings in a global batch; each worker gets an equal part.
        epochs: times through all training ratings.
        seed: of the order of the ratings.
        checkpoints: where to go on from, and where to save.
    """
    done = checkpoints.restore() if checkpoints else 0
    strategy, step = tf.distribute.get_strategy(), make_step(model, optimizer, batch_size)
    data = rating_dataset(folder, batch_size, seed=seed, epochs=epochs, skip=done)
    for batch in strategy.experimental_distribute_dataset(data):
        loss = float(step(batch))
        done += 1
        if checkpoints:
            checkpoints.after(done)
        yield done, loss


# --- Several processes ----------------------------------------------------------------------------


class WorkerFailed(RuntimeError):
    """A worker ended before its work was done, or took too long. The message says which one, and why."""


def worker(settings: dict) -> dict:
    """Be one worker: train matrix factorization on a folder of Parquet files and store what came out.

    The variable ``TF_CONFIG`` says who the workers are and which one this is. Without it there is one only.
    The first, the *chief*, writes a line to ``log.jsonl`` after every step.

    Args:
        settings: what ``start_workers`` takes, and ``out``, the folder for log, checkpoints and weights.

    Returns:
        worker, started_at (steps done before), steps, loss (of the last step), seconds (without the first step,
        in which TensorFlow prepares the network).
    """
    config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    number = config.get("task", {}).get("index", 0)
    several = tf.distribute.MultiWorkerMirroredStrategy if config else tf.distribute.get_strategy
    strategy = several()  # several workers: this waits until all of them are there
    set_seed(settings["seed"])
    about, out = about_ratings(settings["folder"]), Path(settings["out"])
    sizes = about["n_users"], about["n_items"], settings["K"]
    with strategy.scope():
        model = matrix_factorization(*sizes, lookup_l2=0.12, bias_lookup_l2=0.02, mu=about["mean"])
        optimizer = keras.optimizers.Adam(settings["learning_rate"])
        saved = Checkpoints(model, optimizer, out / "checkpoints", settings["every"], chief=number == 0)
        run = {"batch_size": settings["batch_size"], "epochs": settings["epochs"], "seed": settings["seed"]}
        started_at, start = None, 0.0
        with open(out / "log.jsonl" if number == 0 else os.devnull, "a", encoding="utf-8") as log:
            for step, loss in train(model, optimizer, settings["folder"], checkpoints=saved, **run):
                if started_at is None:
                    started_at, start = step - 1, time.perf_counter()
                log.write(json.dumps({"step": step, "loss": loss}) + "\n")
                log.flush()
    if started_at is None:
        raise WorkerFailed(f"All steps were done before: the newest checkpoint in {out} is the last one.")
    seconds = time.perf_counter() - start
    np.savez(out / f"weights-{number}.npz", *model.get_weights())
    return {"worker": number, "started_at": started_at, "steps": step, "loss": loss, "seconds": seconds}


def start_workers(
    n: int,
    folder: str | Path,
    out: str | Path,
    *,
    batch_size: int = 1024,
    epochs: int = 1,
    K: int = 64,
    learning_rate: float = 0.005,
    every: int = 20,
    seed: int = 0,
) -> list[subprocess.Popen]:
    """Start n workers on this machine, which talk to each other over its loopback address, and return at once.

    On real machines each gets one command, and the addresses in ``TF_CONFIG`` are those of the machines. If
    there are checkpoints in ``out``, the workers go on from the newest.

    Args:
        n: number of workers. The cores are shared among them.
        folder: what ``streaming.write_ratings`` wrote.
        out: folder for what they store.
        batch_size: ratings in a global batch; it must be a multiple of n.
        epochs, K, learning_rate, seed: of the training.
        every: steps between two checkpoints.

    Raises:
        ValueError: for n below 1, or a batch that can't be shared equally.
    """
    if n < 1 or batch_size % n:
        raise ValueError(f"Expected n >= 1 and a batch_size that n divides, but got n={n}, {batch_size}.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    settings = {"folder": str(folder), "out": str(out), "batch_size": batch_size, "epochs": epochs, "K": K}
    settings |= {"learning_rate": learning_rate, "every": every, "seed": seed}
    Path(out, "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(n)]
    threads = str(max(1, (os.cpu_count() or 1) // n))
    processes = []
    for number in range(n):
        # Loopback must not go through a proxy that this machine may have.
        variables = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        variables |= {"TF_NUM_INTRAOP_THREADS": threads, "CUDA_VISIBLE_DEVICES": "-1"}
        if n > 1:
            task = {"type": "worker", "index": number}
            variables["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        result = out / f"worker-{number}.json"
        result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "course_utils.large.scaling", str(out / "settings.json"), str(result)]
        with open(out / f"worker-{number}.txt", "wb") as output:
            process = subprocess.Popen(
                command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        processes.append(process)
    return processes


def run_workers(
    n: int, folder: str | Path, out: str | Path, *, limit: float = 300, **options: int | float
) -> list[dict]:
    """Start n workers, wait until all are done and return what each returned, the chief first.

    Args:
        n, folder, out, options: as for ``start_workers``.
        limit: as for ``wait_for_workers``.

    Raises:
        ValueError: as ``start_workers`` does.
        WorkerFailed: as ``wait_for_workers`` does.
    """
    return wait_for_workers(start_workers(n, folder, out, **options), out, limit)


def wait_for_workers(processes: Sequence[subprocess.Popen], out: str | Path, limit: float = 300) -> list[dict]:
    """Wait until all workers are done and return what each returned, the chief first.

    When one dies, the others can't go on: each step needs the gradients of all. So they are ended.

    Args:
        processes: what ``start_workers`` returned.
        out: the same folder.
        limit: seconds to wait at most.

    Raises:
        WorkerFailed: when a worker died or the time is over.
    """
    end, codes = time.monotonic() + limit, []
    try:
        while None in (codes := [process.poll() for process in processes]):
            failed = [number for number, code in enumerate(codes) if code]
            if failed or time.monotonic() > end:
                break
            time.sleep(0.05)
    finally:  # also when the stop button of the notebook was pressed
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    failed = [number for number, code in enumerate(codes) if code]
    if failed:
        # A worker that was killed has a negative code. It is the cause, where the others are its victims.
        first = min(failed, key=lambda number: codes[number])
        text = Path(out, f"worker-{first}.txt").read_text(encoding="utf-8", errors="replace").strip()
        said = text.splitlines()[-1][:200] if text else "nothing"
        raise WorkerFailed(
            f"Worker {first} of {len(processes)} ended with exit code {codes[first]}. It said last: {said}"
        )
    if None in codes:
        raise WorkerFailed(f"The workers were not done after {limit:g} s, so they were ended.")
    return [
        json.loads(Path(out, f"worker-{number}.json").read_text(encoding="utf-8"))
        for number in range(len(processes))
    ]


def read_log(out: str | Path) -> list[dict]:
    """Return the lines that the chief has written so far: step and loss, restarts included."""
    path = Path(out, "log.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _free_ports(n: int) -> list[int]:
    """Return n ports that nobody uses at the moment."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    done = worker(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(sys.argv[2]).write_text(json.dumps(done), encoding="utf-8")
