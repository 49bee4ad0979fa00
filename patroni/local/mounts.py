"""A disk of its own for a node: a file with a file system in it, so that it can be full or slow without the machine's being so."""
import os

from . import hosts
from .errors import NotPossible

THROTTLE = '/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device'


def mounted_under(folder):
    """What is mounted in a folder, innermost first."""
    with open('/proc/self/mounts', encoding='utf-8') as file:
        points = [line.split()[1] for line in file]
    return sorted((point for point in points if point.startswith(folder + '/')), reverse=True)


def mount(node_dir, megabytes, user):
    image = os.path.join(node_dir, 'disk.image')
    with open(image, 'wb') as file:
        file.truncate(megabytes << 20)
    hosts.run(['mkfs.ext4', '-q', '-F', '-m', '0', '-E', 'lazy_itable_init=1,lazy_journal_init=1,root_owner=%d:%d' % (user.pw_uid, user.pw_gid), image])
    hosts.run(['mount', '-o', 'loop', image, os.path.join(node_dir, 'disk')])


def unmount_all(run_dir):
    for point in mounted_under(run_dir):
        hosts.run(['umount', point])


def _disk(node_dir):
    """The folder and the device number of a node's own disk."""
    folder = os.path.join(node_dir, 'disk')
    if not os.path.ismount(folder):
        raise NotPossible('the node has no disk of its own; "up --disk 2048" gives it one')
    device = os.stat(folder).st_dev
    return folder, '%d:%d' % (os.major(device), os.minor(device))


def fill(node_dir):
    """Fills a node's disk to its last block."""
    folder, _ = _disk(node_dir)
    with open(os.path.join(folder, 'ballast'), 'ab') as file:
        size = os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize
        while size >= 4096:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
            except OSError:
                size //= 2


def throttle(node_dir, writes_per_second):
    """Lets a node's disk write so many times a second: each fsync waits for several writes. 0 lifts it."""
    _, device = _disk(node_dir)
    try:
        with open(THROTTLE, 'w', encoding='ascii') as file:
            file.write('%s %d\n' % (device, writes_per_second))
    except FileNotFoundError as error:
        raise NotPossible('a whole disk is made slow by version 1 of the kernel\'s blkio controller, which is not mounted') from error


def heal(node_dir):
    """Empties and speeds up what fill() and throttle() have filled and slowed down."""
    if not os.path.ismount(os.path.join(node_dir, 'disk')):
        return
    if os.path.exists(THROTTLE):
        throttle(node_dir, 0)
    if os.path.exists(os.path.join(node_dir, 'disk', 'ballast')):
        os.unlink(os.path.join(node_dir, 'disk', 'ballast'))
