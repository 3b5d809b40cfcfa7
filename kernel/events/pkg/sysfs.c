// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: what the engine adds to a PMU's directory in sysfs
 */
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/kstrtox.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/perf_event.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "internal.h"

static struct perf_pkg *perf_pkg_from_dev(struct device *dev)
{
	struct pmu *pmu = dev_get_drvdata(dev);

	return container_of(pmu, struct perf_pkg_pmu, pmu)->pp;
}

static unsigned int perf_pkg_max_interval_us(const struct perf_pkg_pmu *ppmu)
{
	return min(ppmu->max_interval_us ?: PERF_PKG_INTERVAL_MAX_US, PERF_PKG_INTERVAL_MAX_US);
}

bool perf_pkg_interval_valid(const struct perf_pkg_pmu *ppmu, unsigned int us)
{
	if (!us)
		return !ppmu->max_interval_us;

	return us >= PERF_PKG_INTERVAL_MIN_US && us <= perf_pkg_max_interval_us(ppmu);
}

static ssize_t refresh_interval_us_show(struct device *dev, struct device_attribute *attr,
					char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(perf_pkg_from_dev(dev)->interval_us));
}

static ssize_t refresh_interval_us_store(struct device *dev, struct device_attribute *attr,
					 const char *buf, size_t count)
{
	struct perf_pkg *pp = perf_pkg_from_dev(dev);
	unsigned int i, us;
	int ret;

	ret = kstrtouint(buf, 10, &us);
	if (ret)
		return ret;

	if (!perf_pkg_interval_valid(pp->ppmu, us))
		return -ERANGE;

	guard(mutex)(&pp->mutex);

	for (i = 0; i < pp->max_domains; i++)
		perf_pkg_timer_pause(&pp->domain[i]);
	WRITE_ONCE(pp->interval_us, us);
	for (i = 0; i < pp->max_domains; i++)
		perf_pkg_timer_resume(&pp->domain[i]);

	return count;
}
static DEVICE_ATTR_RW(refresh_interval_us);

static ssize_t refresh_interval_max_us_show(struct device *dev, struct device_attribute *attr,
					    char *buf)
{
	return sysfs_emit(buf, "%u\n", perf_pkg_max_interval_us(perf_pkg_from_dev(dev)->ppmu));
}
static DEVICE_ATTR_RO(refresh_interval_max_us);

static ssize_t max_age_us_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	unsigned int us = READ_ONCE(perf_pkg_from_dev(dev)->max_age_us);

	return us ? sysfs_emit(buf, "%u\n", us) : sysfs_emit(buf, "off\n");
}

static ssize_t max_age_us_store(struct device *dev, struct device_attribute *attr,
				const char *buf, size_t count)
{
	unsigned int us = 0;
	int ret;

	if (!sysfs_streq(buf, "off")) {
		ret = kstrtouint(buf, 10, &us);
		if (ret)
			return ret;
		if (!us || us > PERF_PKG_MAX_AGE_US)
			return -ERANGE;
	}
	WRITE_ONCE(perf_pkg_from_dev(dev)->max_age_us, us);

	return count;
}
static DEVICE_ATTR_RW(max_age_us);

static ssize_t errors_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lld\n", atomic64_read(&perf_pkg_from_dev(dev)->errors));
}
static DEVICE_ATTR_RO(errors);

static ssize_t cpumask_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return cpumap_print_to_pagebuf(true, buf, &perf_pkg_from_dev(dev)->cpumask);
}
static DEVICE_ATTR_RO(cpumask);

static struct attribute *perf_pkg_attrs[] = {
	&dev_attr_refresh_interval_us.attr,
	&dev_attr_refresh_interval_max_us.attr,
	&dev_attr_max_age_us.attr,
	&dev_attr_errors.attr,
	/* The rest is for PMUs that count domains. */
	&dev_attr_cpumask.attr,
	NULL,
};

static umode_t perf_pkg_attr_visible(struct kobject *kobj, struct attribute *attr, int i)
{
	struct perf_pkg *pp = perf_pkg_from_dev(kobj_to_dev(kobj));

	return attr != &dev_attr_cpumask.attr || pp->ppmu->counts_domains ? attr->mode : 0;
}

const struct attribute_group perf_pkg_group = {
	.attrs		= perf_pkg_attrs,
	.is_visible	= perf_pkg_attr_visible,
};
EXPORT_SYMBOL_GPL(perf_pkg_group);

PMU_FORMAT_ATTR(domains, "config1:0-63");

static struct attribute *perf_pkg_format_attrs[] = {
	&format_attr_domains.attr,
	NULL,
};

static umode_t perf_pkg_format_visible(struct kobject *kobj, struct attribute *attr, int i)
{
	return perf_pkg_from_dev(kobj_to_dev(kobj))->ppmu->counts_domains ? 0 : attr->mode;
}

const struct attribute_group perf_pkg_format_group = {
	.name		= "format",
	.attrs		= perf_pkg_format_attrs,
	.is_visible	= perf_pkg_format_visible,
};
EXPORT_SYMBOL_GPL(perf_pkg_format_group);

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

const struct attribute_group perf_pkg_event_group = {
	.name	= "events",
	.attrs	= perf_pkg_event_attrs,
};
EXPORT_SYMBOL_GPL(perf_pkg_event_group);

const struct attribute_group *perf_pkg_attr_update[] = {
	&perf_pkg_group,
	&perf_pkg_format_group,
	&perf_pkg_event_group,
	NULL,
};
EXPORT_SYMBOL_GPL(perf_pkg_attr_update);
