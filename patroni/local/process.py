"""Processes of a local cluster: started, recorded, found again and signalled, by whichever process drives the cluster.

Every process starts with TAG=<folder of its host> in its environment, which its children inherit, so that everything a host
runs can be found without any record. What is started by us is recorded as well, by pid and start time: a pid that was given to
somebody else is not taken for ours. Whoever dies between start and record leaves a process that the tag still finds.
Server processes overwrite their environment: they are known by their program and their data directory.
"""
import os
import signal
import subprocess
import time

TAG = 'UNRDF_LOCAL_HOST'


def stat(pid):
    """State, parent and start time (in ticks since boot) of a process; None where there is none, or only its remains."""
    try:
        with open('/proc/%d/stat' % pid, 'rb') as file:
            fields = file.read().rpartition(b')')[2].split()
    except OSError:
        return None
    if fields[0] in (b'Z', b'X'):
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def started(pid):
    """When a process was started; None where there is none."""
    found = stat(pid)
    return found and found[2]


def is_frozen(pid):
    found = stat(pid)
    return bool(found) and found[0] in 'Tt'


def all_pids():
    return [int(name) for name in os.listdir('/proc') if name.isdigit()]


def link(pid, name):
    """Where /proc/PID/cwd or exe points; '' where that cannot be known."""
    try:
        return os.readlink('/proc/%d/%s' % (pid, name))
    except OSError:
        return ''


def is_tagged(pid, folder):
    try:
        with open('/proc/%d/environ' % pid, 'rb') as file:
            return ('%s=%s' % (TAG, folder)).encode() in file.read().split(b'\0')
    except OSError:
        return False


def servers_in(data_dir):
    """Every server process on a data directory, also those whose postmaster is gone."""
    return [pid for pid in all_pids() if link(pid, 'cwd') == data_dir
            and os.path.basename(link(pid, 'exe').replace(' (deleted)', '')) == 'postgres' and stat(pid)]


def postmaster_of(data_dir):
    """The postmaster of a data directory; None where none runs."""
    try:
        with open(os.path.join(data_dir, 'postmaster.pid'), encoding='utf-8') as file:
            pid = int(file.readline())
    except (OSError, ValueError):
        return None
    return pid if link(pid, 'cwd') == data_dir and stat(pid) else None


def of_host(folder, data_dir):
    """Everything that runs on a host."""
    mine = os.getpid()
    tagged = [pid for pid in all_pids() if pid != mine and is_tagged(pid, folder) and stat(pid)]
    return tagged + [pid for pid in servers_in(data_dir) if pid not in tagged]


def send(pid, number):
    """Signals a process; False where it is gone."""
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def reap(pid):
    """Takes the remains of a child of ours."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def wait_gone(pids, timeout):
    """Waits until none of the processes, a dict of pid and start time, is left; returns those that are."""
    until = time.monotonic() + timeout
    while True:
        for pid in pids:
            reap(pid)
        left = [pid for pid, start in pids.items() if started(pid) == start]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.01)


def repeat_on(find, number, is_done, timeout=10):
    """Signals whatever find() returns until all of that is as it should be, since processes start others meanwhile."""
    until = time.monotonic() + timeout
    while True:
        left = [pid for pid in find() if not is_done(pid)]
        if not left:
            return
        if time.monotonic() > until:
            raise TimeoutError('processes %s do not take signal %d' % (left, number))
        for pid in left:
            send(pid, number)
            reap(pid)
        time.sleep(0.005)


def kill_all(find, timeout=10):
    repeat_on(find, signal.SIGKILL, lambda pid: stat(pid) is None, timeout)


def freeze_all(find):
    repeat_on(find, signal.SIGSTOP, is_frozen)


def thaw_all(find):
    repeat_on(find, signal.SIGCONT, lambda pid: not is_frozen(pid))


def remove_shared_memory(key, segment):
    """Removes a segment that a dead server has left, if it is still the one with that key and nobody uses it."""
    with open('/proc/sysvipc/shm', encoding='ascii') as file:
        for line in list(file)[1:]:
            fields = line.split()
            if (int(fields[0]), int(fields[1]), int(fields[6])) == (key, segment, 0):
                subprocess.run(['ipcrm', '-m', str(segment)], check=True)
