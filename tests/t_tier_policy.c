/* t_tier_policy.c - "dram=NAME,option=value,vram=NAME": what belongs to which tier. */
#include "test.h"
#include "base/mem.h"
#include "engine/tier_policy.h"

static void assert_spec(const char *spec, const char *want)
{
	if (want)
		assert_string_equal(spec, want);
	else
		assert_null(spec);
}

static void splits(const char *text, const char *dram, const char *vram)
{
	struct tr_tier_policies p;
	struct tr_err err;

	if (tr_tier_policies_parse(&p, text, &err))
		fail_msg("%s: %s", text, err.msg);
	assert_spec(p.spec[TR_POLICY_DRAM], dram);
	assert_spec(p.spec[TR_POLICY_VRAM], vram);
	tr_tier_policies_free(&p);
}

static void refused(const char *text, const char *why)
{
	struct tr_tier_policies p;
	struct tr_err err;

	assert_int_equal(tr_tier_policies_parse(&p, text, &err), TR_E_INVALID);
	assert_err_has(&err, why);
	assert_null(p.spec[TR_POLICY_DRAM]);
	assert_null(p.spec[TR_POLICY_VRAM]);
}

static void without_a_tier_it_is_that_of_dram(void **state)
{
	(void)state;
	splits(NULL, NULL, NULL);
	splits("lru", "lru", NULL);
	splits("lrfu,lambda=0.01", "lrfu,lambda=0.01", NULL);
	splits("./my=own.so,keep=2,dramatic=1", "./my=own.so,keep=2,dramatic=1", NULL);
	splits("lru,vram=lfu", "lru", "lfu");
}

static void tiers_come_in_any_order_with_their_options(void **state)
{
	(void)state;
	splits("dram=foresight", "foresight", NULL);
	splits("vram=lfuda", NULL, "lfuda");
	splits("dram=lrfu,lambda=0.01,vram=lfuda", "lrfu,lambda=0.01", "lfuda");
	splits("vram=2q,in=0.1,out=0.5,dram=./p.so,a=b=c", "./p.so,a=b=c", "2q,in=0.1,out=0.5");
}

static void mistakes_are_named(void **state)
{
	(void)state;
	refused("gpu=lru", "tier 'gpu' is not known; there are dram, vram");
	refused("dram=lru,gpu=lfuda", "tier 'gpu' is not known");
	refused("dram=lru,dram=lfu", "dram= is there twice");
	refused("lru,dram=lfu", "dram= is there twice");
	refused("vram=lru,lambda=1,vram=lfu", "vram= is there twice");
	refused("dram=", "no policy is named for dram");
	refused("vram=,dram=lru", "no policy is named for vram");
	refused("dram=,a=1", "no policy is named for dram");
	refused("", "no policy is named for dram");
}

static void names_are_checked_without_opening_anything(void **state)
{
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_policy_check("dram=./no/such.so,vram=pin,ids=7", &err), 0);
	assert_int_equal(tr_policy_check("dram=lru,vram=mru", &err), TR_E_NOENT);
	assert_err_has(&err, "'mru' is not known");
	assert_int_equal(tr_policy_check("disk=lru", &err), TR_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_tier_it_is_that_of_dram),
		cmocka_unit_test(tiers_come_in_any_order_with_their_options),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(names_are_checked_without_opening_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
