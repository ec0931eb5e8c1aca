# Makes a machine of namespaces: it has the programs of this one, two users, and the files of a test.
# $1: the folder of the files. What follows is the program to run as the first process.
set -e
files=$1
shift
for program in cron ps /lib/systemd/systemd; do
  command -v $program >/dev/null || { echo "$program is needed: tests/setup installs it" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "only root can make a machine of namespaces" >&2; exit 1; }
mount --make-rprivate /
mount -t tmpfs tmpfs /run
for folder in etc usr var; do
  mkdir -p /run/upper/$folder /run/work/$folder
  mount -t overlay -o "lowerdir=/$folder,upperdir=/run/upper/$folder,workdir=/run/work/$folder" overlay /$folder
done
# Nothing runs here but what the test starts.
rm -rf /etc/fstab /etc/cron.* /etc/systemd/system/*.wants /usr/lib/systemd/system/*.wants
for folder in etc usr; do
  if [ -d "$files/$folder" ]; then cp -r --remove-destination "$files/$folder/." /$folder; fi
done
for user in report scheduler; do
  echo "$user:x:6432:6432::/var/lib/$user:/bin/sh" >>/etc/passwd
  echo "$user:*:20000:0:99999:7:::" >>/etc/shadow
  install -d -o 6432 -g 6432 /var/lib/$user
done
echo "report:x:6432:scheduler" >>/etc/group
touch /usr/local/bin/locker
mount --bind "$LOCKER" /usr/local/bin/locker
mount --bind "$SHARED" /mnt
echo "$NAME" >/etc/hostname
hostname "$NAME"
# Processes of another machine must not be in the same groups.
umount -lR /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
groups=$(mktemp -d "/sys/fs/cgroup/$NAME-XXXXXX")
code=0
sh -c 'echo 0 >"$1/cgroup.procs"; shift; exec "$@"' sh "$groups" \
  unshare --cgroup --pid --fork --mount --mount-proc --ipc --kill-child \
  sh -c 'umount /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin container=test "$@"' sh "$@" || code=$?
find "$groups" -depth -type d -exec rmdir {} + || true
exit $code
