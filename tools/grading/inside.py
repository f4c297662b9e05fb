"""What runs in the closed room (``sandbox``): it gives up all rights, then executes the cells of one notebook.

It is a file of its own that imports nothing of the course, for it is all of ``tools`` that the room shows. The
job comes as JSON on stdin. Each result goes to stdout as a line of JSON as soon as it is known, so that what is
done counts when a later cell brings the room down.
"""

import ctypes
import json
import os
import resource
import sys

MESSAGE = 2_000  # characters of an error's message
TOUCHY = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/dev/kmsg",
    "/dev/mem",
)
HARMLESS = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")


def confine(number: int, limits: dict) -> None:
    """Become the user ``number``, who owns nothing, if this is root; then set the limits of each process.

    Raises:
        OSError: when a right can't be given up.
    """
    with open(
        "/proc/self/oom_score_adj", "w", encoding="utf-8"
    ) as score:  # short of memory, Linux ends these processes first
        score.write("1000")
    if os.getuid() == 0 or os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(number, number, number)
        os.setresuid(number, number, number)
    ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE: the cells can't look into this process
    for what, value in (
        (resource.RLIMIT_AS, limits["address_space"]),
        (resource.RLIMIT_FSIZE, limits["file"]),
        (resource.RLIMIT_NPROC, limits["threads"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def look(hidden: str) -> dict:
    """Return whether ``hidden`` can be seen, and what could be opened for writing. Nothing is written."""
    paths = [*TOUCHY, *(f"/dev/{name}" for name in os.listdir("/dev") if name not in HARMLESS)]
    for folder in ("/proc/sys/kernel", "/proc/sys/vm", "/sys"):
        for place, folders, names in os.walk(folder):
            del folders[20:]
            paths += [os.path.join(place, name) for name in names[:200]]
    found = [path for path in paths if not (os.path.isdir(path) or os.path.islink(path)) and _opens(path)]
    found += [path for path in ("/", "/dev", "/usr", "/etc") if os.access(path, os.W_OK)]
    return {"hidden": os.path.exists(hidden), "writable": found}


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def shrink(path: str) -> dict:
    """Return the notebook in the file ``path`` without its outputs."""
    with open(path, "rb") as file:
        notebook = json.loads(file.read())
    for cell in notebook["cells"]:
        cell.pop("outputs", None)
        cell.pop("attachments", None)
    return notebook


def execute(cells: list[str], cell_seconds: int, say) -> None:
    """Execute the cells in one fresh kernel. ``say`` gets a dictionary for each cell."""
    import nbclient  # the room of `look` has no packages
    import nbformat
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class OnlyPython(KernelSpecManager):
        def get_kernel_spec(self, name):
            return KernelSpec(
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                display_name=name,
                language="python",
            )

    class Client(nbclient.NotebookClient):
        def output(self, outs, msg, display_id, cell_index):
            """Keep errors only: what a cell prints can be of any size, and no point depends on it."""
            if msg["msg_type"] == "error" and len(outs) < 3:
                outs.append({"name": msg["content"]["ename"], "says": str(msg["content"]["evalue"])[:MESSAGE]})

    stopped = f"this cell ran longer than {cell_seconds} s and was stopped"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    status = {}
    client = Client(
        notebook,
        kernel_name="python3",
        timeout=cell_seconds,
        startup_timeout=cell_seconds + 60,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": "Timeout", "evalue": stopped, "traceback": [stopped]},
        allow_errors=True,
        store_widget_state=False,
        iopub_timeout=10,
        raise_on_iopub_timeout=False,
        on_cell_executed=lambda cell, cell_index, execute_reply: status.update(execute_reply["content"]),
    )
    client.km = client.create_kernel_manager()
    client.km.kernel_spec_manager = OnlyPython()
    try:
        with client.setup_kernel(stdout=-3, stderr=-3):  # subprocess.DEVNULL
            say({"started": True})
            for number, cell in enumerate(notebook.cells):
                status.clear()
                client.execute_cell(cell, number, store_history=True)
                errors, name = list(cell.outputs), str(status.get("ename", "Stopped"))
                # A check passes when the kernel says so, whatever was printed.
                if name == "Timeout" or (status.get("status") != "ok" and not errors):
                    errors = [{"name": name, "says": str(status.get("evalue", ""))[:MESSAGE]}]
                say({"cell": number, "errors": errors})
    except Exception as problem:  # the code can spoil what it talks through, too
        say({"died": True, "why": repr(problem)[:MESSAGE]})


def main() -> None:
    """Do the job."""
    job = json.loads(sys.stdin.buffer.read())
    answers = os.dup(1)  # the cells have no way to this number: a program that is started inherits it not
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    confine(job["id"], job["limits"])

    def say(what: dict) -> None:
        text = (json.dumps(what) + "\n").encode()
        while text:
            text = text[os.write(answers, text) :]

    if job["do"] == "look":
        say(look(job["hidden"]))
    elif job["do"] == "shrink":
        say(shrink(job["path"]))
    else:
        os.environ.update(job["environment"])
        execute(job["cells"], job["cell_seconds"], say)
    os._exit(0)  # not a thread of a library may hold this up


if __name__ == "__main__":
    main()
