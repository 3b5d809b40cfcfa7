// SPDX-License-Identifier: GPL-2.0
/*
 * Runs in a 32-bit guest as process 1, in the place of vm/guest: Debian's programs are for
 * 64 bits, so the kselftests, linked statically, are all there is beside this. Runs them in
 * their order and sends nested KTAP and a verdict over the same virtio ports.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORTS	"/sys/class/virtio-ports"
#define LIST	SELFTESTS "/kselftest-list.txt"
#define PREFIX	"perf_events:"
#define ONLY	" pkg.only="
/* As in settings */
#define LIMIT_S	600

static pid_t child;

static void mounts(void)
{
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mkdir("/dev/shm", 0755);
	mount("shm", "/dev/shm", "tmpfs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
}

static FILE *port(const char *name)
{
	char path[300], is[64] = "";
	struct dirent *entry;
	FILE *file = NULL;
	DIR *dir;

	dir = opendir(PORTS);
	while (dir && !file && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), PORTS "/%s/name", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (!fgets(is, sizeof(is), file))
			is[0] = '\0';
		fclose(file);
		file = NULL;
		is[strcspn(is, "\n")] = '\0';
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		if (!strcmp(is, name))
			file = fopen(path, "w");
	}
	if (dir)
		closedir(dir);
	return file ?: fopen("/dev/console", "w");
}

/* Whether the kernel's command line names the program, or none at all */
static bool wanted(const char *program)
{
	static char line[4096];
	FILE *file = fopen("/proc/cmdline", "r");
	char *only, *name;

	if (!file || !fgets(line, sizeof(line), file))
		line[0] = '\0';
	if (file)
		fclose(file);
	only = strstr(line, ONLY);
	if (!only)
		return true;
	only += strlen(ONLY);
	only[strcspn(only, "\n ")] = '\0';
	while ((name = strsep(&only, ",")))
		if (!strcmp(name, program))
			return true;
	return false;
}

static void too_long(int sig)
{
	kill(-child, SIGKILL);
}

/* Returns the wait status */
static int run(FILE *out, const char *program)
{
	int fds[2], status = -1;
	char line[4096];
	FILE *in;

	if (pipe(fds))
		return -1;
	child = fork();
	if (!child) {
		char path[300];

		setpgid(0, 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		snprintf(path, sizeof(path), "./%s", program);
		execl(path, path, NULL);
		_exit(127);
	}
	setpgid(child, child);
	close(fds[1]);
	alarm(LIMIT_S);
	in = fdopen(fds[0], "r");
	while (fgets(line, sizeof(line), in)) {
		fprintf(out, "    %s", line);
		fflush(out);
	}
	fclose(in);
	waitpid(child, &status, 0);
	alarm(0);
	return status;
}

int main(void)
{
	struct sigaction sa = { .sa_handler = too_long, .sa_flags = SA_RESTART };
	int nr = 0, failed = 0, status, fd;
	FILE *out, *list, *verdict;
	char line[256];

	mounts();
	for (fd = 0; fd < 3; fd++)
		dup2(open("/dev/console", O_RDWR), fd);
	sigaction(SIGALRM, &sa, NULL);
	out = port("output");
	list = fopen(LIST, "r");
	if (chdir(SELFTESTS "/perf_events") || !list)
		failed++;
	fprintf(out, "KTAP version 1\n");
	while (list && fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		/* No shell, no scripts */
		if (strncmp(line, PREFIX "pkg_", strlen(PREFIX "pkg_")) || strstr(line, ".sh") ||
		    !wanted(line + strlen(PREFIX)))
			continue;
		status = run(out, line + strlen(PREFIX));
		if (WIFEXITED(status) && (!WEXITSTATUS(status) || WEXITSTATUS(status) == 4)) {
			fprintf(out, "ok %d %s\n", ++nr, line + strlen(PREFIX));
		} else {
			fprintf(out, "not ok %d %s: status 0x%x\n", ++nr, line + strlen(PREFIX),
				status);
			failed++;
		}
		fflush(out);
	}
	fprintf(out, "1..%d\n", nr);
	fclose(out);
	verdict = port("verdict");
	fprintf(verdict, "%d\n", failed || !nr);
	fclose(verdict);
	reboot(LINUX_REBOOT_CMD_RESTART);
	return 0;
}
