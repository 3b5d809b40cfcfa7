// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: what the engine adds to a PMU's directory in sysfs
 */
#include <linux/device.h>
#include <linux/kernel.h>
#include <linux/kstrtox.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "pkg.h"

static struct perf_pkg *perf_pkg_from_dev(struct device *dev)
{
	struct pmu *pmu = dev_get_drvdata(dev);

	return container_of(pmu, struct perf_pkg_pmu, pmu)->pp;
}

/* Knobs that are looked at each time they are needed */
static ssize_t perf_pkg_set_knob(unsigned int *knob, unsigned int max, const char *buf,
				 size_t count)
{
	unsigned int value;
	int ret;

	ret = kstrtouint(buf, 0, &value);
	if (ret)
		return ret;

	if (!value || value > max)
		return -ERANGE;

	WRITE_ONCE(*knob, value);

	return count;
}

bool perf_pkg_interval_valid(const struct perf_pkg_pmu *ppmu, unsigned int us)
{
	unsigned int max = ppmu->max_interval_us ?: PERF_PKG_INTERVAL_MAX_US;

	if (!us)
		return !ppmu->max_interval_us;

	return us >= PERF_PKG_INTERVAL_MIN_US && us <= min(max, PERF_PKG_INTERVAL_MAX_US);
}

static ssize_t refresh_interval_us_show(struct device *dev,
					struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(perf_pkg_from_dev(dev)->interval_us));
}

static ssize_t refresh_interval_us_store(struct device *dev,
					 struct device_attribute *attr,
					 const char *buf, size_t count)
{
	struct perf_pkg *pp = perf_pkg_from_dev(dev);
	unsigned int i, us;
	int ret;

	ret = kstrtouint(buf, 0, &us);
	if (ret)
		return ret;

	if (!perf_pkg_interval_valid(pp->ppmu, us))
		return -ERANGE;

	guard(mutex)(&pp->mutex);

	for (i = 0; i < pp->max_domains; i++)
		perf_pkg_hold(&pp->domain[i]);
	WRITE_ONCE(pp->interval_us, us);
	for (i = 0; i < pp->max_domains; i++)
		perf_pkg_release(&pp->domain[i]);

	return count;
}
static DEVICE_ATTR_RW(refresh_interval_us);

static ssize_t refresh_budget_us_show(struct device *dev, struct device_attribute *attr,
				      char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(perf_pkg_from_dev(dev)->budget_us));
}

static ssize_t refresh_budget_us_store(struct device *dev, struct device_attribute *attr,
				       const char *buf, size_t count)
{
	return perf_pkg_set_knob(&perf_pkg_from_dev(dev)->budget_us, PERF_PKG_BUDGET_MAX_US,
				 buf, count);
}
static DEVICE_ATTR_RW(refresh_budget_us);

static ssize_t refresh_cpu_percent_show(struct device *dev, struct device_attribute *attr,
					char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(perf_pkg_from_dev(dev)->cpu_percent));
}

static ssize_t refresh_cpu_percent_store(struct device *dev, struct device_attribute *attr,
					 const char *buf, size_t count)
{
	return perf_pkg_set_knob(&perf_pkg_from_dev(dev)->cpu_percent,
				 PERF_PKG_CPU_PERCENT_MAX, buf, count);
}
static DEVICE_ATTR_RW(refresh_cpu_percent);

static ssize_t max_age_us_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	unsigned int us = READ_ONCE(perf_pkg_from_dev(dev)->max_age_us);

	return us ? sysfs_emit(buf, "%u\n", us) : sysfs_emit(buf, "off\n");
}

static ssize_t max_age_us_store(struct device *dev, struct device_attribute *attr,
				const char *buf, size_t count)
{
	unsigned int *knob = &perf_pkg_from_dev(dev)->max_age_us;

	if (!sysfs_streq(buf, "off"))
		return perf_pkg_set_knob(knob, PERF_PKG_MAX_AGE_US, buf, count);

	WRITE_ONCE(*knob, 0);

	return count;
}
static DEVICE_ATTR_RW(max_age_us);

static ssize_t errors_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lld\n", atomic64_read(&perf_pkg_from_dev(dev)->errors));
}
static DEVICE_ATTR_RO(errors);

static struct attribute *perf_pkg_attrs[] = {
	&dev_attr_refresh_interval_us.attr,
	&dev_attr_refresh_budget_us.attr,
	&dev_attr_refresh_cpu_percent.attr,
	&dev_attr_max_age_us.attr,
	&dev_attr_errors.attr,
	NULL,
};

static const struct attribute_group perf_pkg_group = {
	.attrs	= perf_pkg_attrs,
};

PMU_FORMAT_ATTR(pkgmask, "config1:0-63");

static struct attribute *perf_pkg_format_attrs[] = {
	&format_attr_pkgmask.attr,
	NULL,
};

static const struct attribute_group perf_pkg_format_group = {
	.name	= "format",
	.attrs	= perf_pkg_format_attrs,
};

PMU_EVENT_ATTR_STRING(age, perf_pkg_age_attr, "event=0xff");
PMU_EVENT_ATTR_STRING(age.unit, perf_pkg_age_unit, "ns");
PMU_EVENT_ATTR_STRING(age.scale, perf_pkg_age_scale, "1");
PMU_EVENT_ATTR_STRING(age.snapshot, perf_pkg_age_snapshot, "1");

static struct attribute *perf_pkg_event_attrs[] = {
	&perf_pkg_age_attr.attr.attr,
	&perf_pkg_age_unit.attr.attr,
	&perf_pkg_age_scale.attr.attr,
	&perf_pkg_age_snapshot.attr.attr,
	NULL,
};

static const struct attribute_group perf_pkg_event_group = {
	.name	= "events",
	.attrs	= perf_pkg_event_attrs,
};

static const struct attribute_group *perf_pkg_groups[] = {
	&perf_pkg_group,
	&perf_pkg_format_group,
	&perf_pkg_event_group,
};

/* For pmu::attr_update: those of the driver, which may be NULL, and those of the engine */
const struct attribute_group **
perf_pkg_create_groups(const struct attribute_group **driver)
{
	const struct attribute_group **groups;
	unsigned int nr = 0;

	while (driver && driver[nr])
		nr++;

	groups = kcalloc(nr + ARRAY_SIZE(perf_pkg_groups) + 1, sizeof(*groups), GFP_KERNEL);
	if (!groups)
		return NULL;

	if (nr)
		memcpy(groups, driver, nr * sizeof(*groups));
	memcpy(groups + nr, perf_pkg_groups, sizeof(perf_pkg_groups));

	return groups;
}
