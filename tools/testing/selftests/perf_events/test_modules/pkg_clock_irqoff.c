// SPDX-License-Identifier: GPL-2.0
/*
 * Parameter spin_irqoff_ms: the CPU that writes to it spins with interrupts off.
 * Tests find out with it what waits for an interrupt there.
 */
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/module.h>

#define PKG_CLOCK_SPIN_MAX_MS	1000

static int pkg_clock_spin(const char *val, const struct kernel_param *kp)
{
	unsigned long flags;
	unsigned int ms;
	int ret;

	ret = kstrtouint(val, 0, &ms);
	if (ret)
		return ret;
	if (ms > PKG_CLOCK_SPIN_MAX_MS)
		return -ERANGE;

	/* Several CPUs may spin at a time */
	kernel_param_unlock(THIS_MODULE);
	local_irq_save(flags);
	mdelay(ms);
	local_irq_restore(flags);
	kernel_param_lock(THIS_MODULE);

	return 0;
}

static const struct kernel_param_ops pkg_clock_spin_ops = {
	.set = pkg_clock_spin,
};
module_param_cb(spin_irqoff_ms, &pkg_clock_spin_ops, NULL, 0200);
MODULE_PARM_DESC(spin_irqoff_ms, "Spin that long with interrupts off, 1000 ms at most");
