/* t_io.c - requests, pieces, queues and retries on a simulated device in virtual time. */
#include "test.h"
#include "base/mem.h"
#include "io/method_sim.h"

#include <errno.h>

#define KIB	   1024u
#define PIECE	   (64 * KIB)
#define MAX_REQ	   16
#define FILE_BYTES (64ull << 20)

struct bed {
	struct tr_io_sim sim;
	struct tr_io *io;
	struct tr_file file;
	struct tr_io_req req[MAX_REQ];
	unsigned char *buf[MAX_REQ];
	size_t n_req;
	struct tr_io_req *done[64]; /* in the order of done() */
	size_t n_done;
};

static void note_done(struct tr_io_req *req)
{
	struct bed *b = req->ctx;

	assert_true(b->n_done < TR_ARRAY_LEN(b->done));
	b->done[b->n_done++] = req;
}

static int setup(void **state)
{
	struct bed *b = tr_calloc(1, sizeof(*b));

	if (!b)
		return -1;
	tr_io_sim_init(&b->sim);
	b->sim.latency_ns = 100;
	b->sim.bytes_per_s = 1000000000;
	b->file = (struct tr_file){ .path = (char *)"sim",
		.fd = -1,
		.direct = true,
		.align_mem = 4096,
		.align_off = 4096,
		.bytes = FILE_BYTES,
		.reg_idx = -1 };
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	tr_io_close(b->io);
	for (size_t i = 0; i < b->n_req; i++)
		free(b->buf[i]);
	tr_io_sim_fini(&b->sim);
	free(b);
	return 0;
}

static void open_io(struct bed *b, uint32_t depth, uint32_t background_depth)
{
	struct tr_io_cfg cfg = { .method = "sim",
		.method_arg = &b->sim,
		.clock = &b->sim.clock,
		.depth = depth,
		.background_depth = background_depth,
		.piece_bytes = PIECE };
	struct tr_err err;

	if (tr_io_open(&b->io, &cfg, &err))
		fail_msg("%s", err.msg);
}

static struct tr_io_req *add_req(struct bed *b, uint64_t off, uint64_t len, enum tr_io_prio prio)
{
	struct tr_io_req *req = &b->req[b->n_req];

	b->buf[b->n_req] = tr_calloc(1, len);
	assert_non_null(b->buf[b->n_req]);
	*req = (struct tr_io_req){ .file = &b->file,
		.off = off,
		.len = len,
		.need = len,
		.buf = b->buf[b->n_req],
		.prio = prio,
		.done = note_done,
		.ctx = b };
	b->n_req++;
	return req;
}

static void submit(struct bed *b, struct tr_io_req *req)
{
	tr_io_submit(b->io, &req, 1);
}

static void wait_all(struct bed *b)
{
	while (tr_io_wait(b->io))
		;
}

static void rule(struct bed *b, struct tr_io_sim_rule r)
{
	b->sim.rule[b->sim.n_rule++] = r;
}

static void assert_content(const struct tr_io_req *req, uint64_t bytes)
{
	unsigned char *want = malloc(bytes);

	assert_non_null(want);
	tr_io_sim_pattern(NULL, req->file, req->off, want, bytes);
	assert_memory_equal(req->buf, want, bytes);
	free(want);
}

static struct tr_io_stats stats(const struct bed *b)
{
	struct tr_io_stats s;

	tr_io_stats(b->io, &s);
	return s;
}

static void request_is_cut_into_pieces(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 8192, 3 * PIECE + 4096, TR_IO_DEMAND);

	open_io(b, 8, 0);
	submit(b, req);
	assert_int_equal(b->n_done, 0);
	wait_all(b);
	assert_int_equal(b->n_done, 1);
	assert_int_equal(req->result, 0);
	assert_int_equal(req->got, req->len);
	assert_content(req, req->len);
	assert_int_equal(b->sim.n_seen, 4);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(b->sim.seen[i].off, 8192 + i * PIECE);
		assert_int_equal(b->sim.seen[i].len, i < 3 ? PIECE : 4096);
	}
	assert_int_equal(stats(b).reqs, 1);
	assert_int_equal(stats(b).pieces, 4);
	assert_int_equal(stats(b).bytes, req->len);
	assert_string_equal(stats(b).method, "sim");
}

static void pieces_keep_the_alignment_of_the_file(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req;

	b->file.align_off = 256 * KIB;
	req = add_req(b, 256 * KIB, 512 * KIB, TR_IO_DEMAND);
	open_io(b, 8, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(b->sim.n_seen, 2);
	assert_int_equal(b->sim.seen[0].len, 256 * KIB);
	assert_content(req, req->len);
}

static void depth_limits_pieces_in_flight(void **state)
{
	struct bed *b = *state;

	open_io(b, 3, 3);
	submit(b, add_req(b, 0, 20 * PIECE, TR_IO_DEMAND));
	assert_int_equal(b->sim.n_seen, 3);
	wait_all(b);
	assert_int_equal(b->sim.n_seen, 20);
	assert_int_equal(b->sim.n_inside_max[TR_IO_DEMAND], 3);
	assert_int_equal(b->n_done, 1);
}

static void busy_and_request_times_follow_the_clock(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);

	open_io(b, 4, 0);
	tr_io_sim_advance(&b->sim, 5000);
	submit(b, req);
	wait_all(b);
	tr_io_sim_advance(&b->sim, 7000);
	assert_int_equal(req->start_ns, 5001);
	assert_int_equal(req->end_ns, 5001 + 100 + PIECE);
	assert_int_equal(stats(b).busy_ns, 100 + PIECE);
}

static void poll_takes_only_what_is_complete(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 4096, TR_IO_DEMAND);

	open_io(b, 4, 0);
	submit(b, req);
	tr_io_sim_advance(&b->sim, 100 + 4095);
	assert_int_equal(tr_io_poll(b->io), 0);
	assert_int_equal(((unsigned char *)req->buf)[1], 0);
	assert_int_equal(stats(b).busy_ns, 4195);
	tr_io_sim_advance(&b->sim, 1);
	assert_int_equal(tr_io_poll(b->io), 1);
	assert_content(req, 4096);
	assert_int_equal(tr_io_wait(b->io), 0);
}

static void short_read_is_resubmitted(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, PIECE, 2 * PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = PIECE, .times = 1, .short_bytes = 8192 });
	open_io(b, 4, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_int_equal(req->got, req->len);
	assert_content(req, req->len);
	assert_int_equal(b->sim.n_seen, 3);
	assert_int_equal(b->sim.seen[2].off, PIECE + 8192);
	assert_int_equal(b->sim.seen[2].len, PIECE - 8192);
	assert_int_equal(stats(b).resubmits, 1);
	assert_int_equal(stats(b).pieces, 2);
}

static void resubmission_of_a_direct_read_starts_aligned(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 1, .short_bytes = 4096 + 100 });
	open_io(b, 4, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_int_equal(b->sim.seen[1].off, 4096);
	assert_int_equal(req->got, PIECE);
	assert_int_equal(stats(b).bytes, PIECE);
	assert_content(req, PIECE);
}

static void buffered_short_read_goes_on_where_it_stopped(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 3, PIECE, TR_IO_DEMAND);

	b->file.direct = false;
	b->file.align_mem = b->file.align_off = 1;
	rule(b, (struct tr_io_sim_rule){ .off = 3, .times = 1, .short_bytes = 101 });
	open_io(b, 4, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_int_equal(b->sim.seen[1].off, 104);
	assert_content(req, PIECE);
}

static void window_past_the_end_is_complete_when_need_is_covered(void **state)
{
	struct bed *b = *state;
	uint64_t off = FILE_BYTES - 5000, win_off, win_len;
	struct tr_io_req *req;

	b->file.bytes = FILE_BYTES - 900;
	tr_file_window(&b->file, off, 4100, &win_off, &win_len);
	assert_int_equal(win_off, FILE_BYTES - 8192);
	assert_int_equal(win_len, 8192);
	req = add_req(b, win_off, win_len, TR_IO_DEMAND);
	req->need = off + 4100 - win_off;
	open_io(b, 4, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_int_equal(req->got, 8192 - 900);
	assert_content(req, req->got);
	assert_int_equal(stats(b).resubmits, 0);
}

static void file_that_ends_early_is_an_error(void **state)
{
	static const uint64_t cut[] = { 0, 100, 4096, PIECE, PIECE + 1 };
	struct bed *b = *state;
	struct tr_err err;

	open_io(b, 4, 0);
	for (size_t i = 0; i < TR_ARRAY_LEN(cut); i++) {
		struct tr_io_req *req = add_req(b, 8 * PIECE, 2 * PIECE, TR_IO_DEMAND);

		b->file.bytes = 8 * PIECE + cut[i];
		submit(b, req);
		wait_all(b);
		assert_int_equal(req->result, TR_E_IO);
		assert_int_equal(req->os_errno, 0);
		assert_int_equal(req->got, cut[i]);
		assert_int_equal(tr_io_explain(req, &err), TR_E_IO);
		assert_err_has(&err, "file ends early");
		assert_err_has(&err, "524288"); /* the offset */
		assert_err_has(&err, "131072"); /* the bytes needed */
	}
	assert_int_equal(stats(b).errors, TR_ARRAY_LEN(cut));
}

static void eio_is_retried(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 2 * PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = PIECE + 5, .times = 3, .os_errno = EIO });
	open_io(b, 4, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_content(req, req->len);
	assert_int_equal(stats(b).retries, 3);
	assert_int_equal(stats(b).errors, 0);
	assert_int_equal(b->sim.n_seen, 5);
}

static void lasting_eio_is_reported_with_its_errno(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 100 * PIECE, TR_IO_DEMAND);
	struct tr_err err;

	rule(b, (struct tr_io_sim_rule){ .off = PIECE, .times = UINT32_MAX, .os_errno = EIO });
	open_io(b, 2, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(b->n_done, 1);
	assert_int_equal(req->result, TR_E_IO);
	assert_int_equal(req->os_errno, EIO);
	assert_int_equal(stats(b).retries, 3);
	assert_int_equal(stats(b).errors, 1);
	/* The rest of a lost request is not read. */
	assert_true(b->sim.n_seen < 20);
	assert_int_equal(tr_io_explain(req, &err), TR_E_IO);
	assert_err_has(&err, "Input/output error");
}

static void other_errors_are_not_retried(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 1, .os_errno = EBADF });
	open_io(b, 2, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->os_errno, EBADF);
	assert_int_equal(b->sim.n_seen, 1);
}

static void failure_waits_for_the_pieces_in_flight(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 2 * PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 1, .os_errno = EBADF });
	open_io(b, 4, 0);
	submit(b, req);
	tr_io_sim_advance(&b->sim, 100);
	assert_int_equal(tr_io_poll(b->io), 0);
	tr_io_sim_advance(&b->sim, PIECE);
	assert_int_equal(tr_io_poll(b->io), 1);
	assert_int_equal(req->result, TR_E_IO);
	assert_int_equal(req->got, PIECE);
}

static void eagain_is_requeued_without_using_up_retries(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 50, .os_errno = EAGAIN });
	open_io(b, 2, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_content(req, PIECE);
	assert_int_equal(stats(b).retries, 0);
	assert_int_equal(stats(b).resubmits, 50);
}

static void endless_eagain_ends_as_an_error(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_BACKGROUND);

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = UINT32_MAX, .os_errno = EAGAIN });
	open_io(b, 2, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, TR_E_IO);
	assert_int_equal(req->os_errno, EAGAIN);
}

static void busy_method_gets_the_piece_again(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 8 * PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = 2 * PIECE, .times = 3, .busy = true });
	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 2, .busy = true });
	open_io(b, 4, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_content(req, req->len);
	assert_int_equal(b->sim.n_seen, 8);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(b->sim.seen[i].off, i * PIECE);
}

static void endlessly_busy_method_ends_as_an_error(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 2 * PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = TR_IO_SIM_ANY, .times = UINT32_MAX, .busy = true });
	open_io(b, 4, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, TR_E_IO);
	assert_int_equal(req->os_errno, EAGAIN);
}

static void demand_goes_before_background(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *slow = add_req(b, 0, 6 * PIECE, TR_IO_BACKGROUND);
	struct tr_io_req *fast = add_req(b, 32 * PIECE, 6 * PIECE, TR_IO_DEMAND);

	open_io(b, 2, 2);
	submit(b, slow);
	submit(b, fast);
	wait_all(b);
	assert_ptr_equal(b->done[0], fast);
	assert_ptr_equal(b->done[1], slow);
	/* Two pieces of background had started; then all of demand; then the rest. */
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(
			b->sim.seen[i].prio, i >= 2 && i < 8 ? TR_IO_DEMAND : TR_IO_BACKGROUND);
}

static void background_keeps_to_its_share_of_the_depth(void **state)
{
	struct bed *b = *state;

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 2, .os_errno = EIO });
	open_io(b, 8, 2);
	submit(b, add_req(b, 0, 16 * PIECE, TR_IO_BACKGROUND));
	assert_int_equal(b->sim.n_seen, 2);
	submit(b, add_req(b, 32 * PIECE, 16 * PIECE, TR_IO_DEMAND));
	assert_int_equal(b->sim.n_seen, 8);
	wait_all(b);
	assert_int_equal(b->sim.n_inside_max[TR_IO_BACKGROUND], 2);
	assert_int_equal(b->n_done, 2);
}

static void requests_of_a_batch_start_in_order(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *reqs[4];

	for (size_t i = 0; i < 4; i++)
		reqs[i] = add_req(b, (3 - i) * PIECE, PIECE, TR_IO_DEMAND);
	open_io(b, 1, 0);
	tr_io_submit(b->io, reqs, 4);
	wait_all(b);
	for (size_t i = 0; i < 4; i++)
		assert_ptr_equal(b->done[i], reqs[i]);
}

static void queued_request_is_cancelled(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *first = add_req(b, 0, 2 * PIECE, TR_IO_DEMAND);
	struct tr_io_req *middle = add_req(b, 4 * PIECE, PIECE, TR_IO_DEMAND);
	struct tr_io_req *last = add_req(b, 8 * PIECE, PIECE, TR_IO_DEMAND);
	struct tr_err err;

	open_io(b, 1, 0);
	submit(b, first);
	submit(b, middle);
	submit(b, last);
	assert_false(tr_io_cancel(b->io, first));
	assert_true(tr_io_cancel(b->io, middle));
	assert_false(tr_io_cancel(b->io, middle));
	assert_int_equal(b->n_done, 0);
	assert_int_equal(tr_io_wait(b->io), 1);
	assert_ptr_equal(b->done[0], middle);
	assert_int_equal(middle->result, TR_E_INTERRUPTED);
	assert_int_equal(tr_io_explain(middle, &err), TR_E_INTERRUPTED);
	wait_all(b);
	assert_int_equal(b->n_done, 3);
	assert_int_equal(first->result, 0);
	assert_int_equal(last->result, 0);
	assert_false(tr_io_cancel(b->io, last));
	assert_int_equal(b->sim.n_seen, 3);
	assert_int_equal(stats(b).cancels, 1);
}

static void promoted_request_overtakes_background(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *first = add_req(b, 0, PIECE, TR_IO_BACKGROUND);
	struct tr_io_req *second = add_req(b, 4 * PIECE, PIECE, TR_IO_BACKGROUND);
	struct tr_io_req *wanted = add_req(b, 8 * PIECE, 2 * PIECE, TR_IO_BACKGROUND);

	open_io(b, 1, 1);
	submit(b, first);
	submit(b, second);
	submit(b, wanted);
	tr_io_promote(b->io, wanted);
	tr_io_promote(b->io, first);
	tr_io_promote(b->io, wanted);
	wait_all(b);
	assert_ptr_equal(b->done[0], first);
	assert_ptr_equal(b->done[1], wanted);
	assert_ptr_equal(b->done[2], second);
	assert_content(wanted, 2 * PIECE);
	tr_io_promote(b->io, second);
	assert_int_equal(second->prio, TR_IO_BACKGROUND);
}

static void promoting_a_started_request_moves_its_rest(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *wanted = add_req(b, 0, 3 * PIECE, TR_IO_BACKGROUND);
	struct tr_io_req *other = add_req(b, 8 * PIECE, PIECE, TR_IO_DEMAND);

	open_io(b, 1, 1);
	submit(b, wanted);
	tr_io_promote(b->io, wanted);
	submit(b, other);
	wait_all(b);
	assert_ptr_equal(b->done[0], wanted);
	assert_content(wanted, 3 * PIECE);
	assert_int_equal(b->sim.seen[0].prio, TR_IO_BACKGROUND);
	assert_int_equal(b->sim.seen[1].prio, TR_IO_DEMAND);
}

static void cancelled_last_request_leaves_a_queue_that_works(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *first = add_req(b, 0, 2 * PIECE, TR_IO_DEMAND);
	struct tr_io_req *last = add_req(b, 8 * PIECE, PIECE, TR_IO_DEMAND);
	struct tr_io_req *later = add_req(b, 16 * PIECE, PIECE, TR_IO_DEMAND);

	open_io(b, 1, 0);
	submit(b, first);
	submit(b, last);
	assert_true(tr_io_cancel(b->io, last));
	submit(b, later);
	wait_all(b);
	assert_int_equal(b->n_done, 3);
	assert_content(later, PIECE);
}

static void reused_request_has_a_new_generation(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);
	uint32_t gen;

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 1, .os_errno = EBADF });
	open_io(b, 1, 0);
	submit(b, req);
	gen = req->gen;
	wait_all(b);
	assert_int_equal(req->gen, gen);
	assert_int_equal(req->result, TR_E_IO);
	submit(b, req);
	assert_int_not_equal(req->gen, gen);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_int_equal(req->os_errno, 0);
	assert_int_equal(req->got, PIECE);
	assert_content(req, PIECE);
}

static void chain_next(struct tr_io_req *req)
{
	struct bed *b = req->ctx;

	note_done(req);
	if (b->n_done < 5) {
		req->off += PIECE;
		submit(b, req);
	}
}

static void done_may_submit_the_same_request(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);

	req->done = chain_next;
	open_io(b, 1, 0);
	submit(b, req);
	wait_all(b);
	assert_int_equal(b->n_done, 5);
	assert_int_equal(req->off, 4 * PIECE);
	assert_content(req, PIECE);
}

static void empty_request_finishes(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 0, TR_IO_DEMAND);

	open_io(b, 1, 0);
	submit(b, req);
	assert_int_equal(tr_io_wait(b->io), 1);
	assert_int_equal(req->result, 0);
	assert_int_equal(b->sim.n_seen, 0);
}

static void close_cancels_queued_and_finishes_started(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *started = add_req(b, 0, 4 * PIECE, TR_IO_DEMAND);
	struct tr_io_req *queued = add_req(b, 8 * PIECE, PIECE, TR_IO_BACKGROUND);

	open_io(b, 1, 0);
	submit(b, started);
	submit(b, queued);
	tr_io_close(b->io);
	b->io = NULL;
	assert_int_equal(b->n_done, 2);
	assert_int_equal(started->result, 0);
	assert_int_equal(queued->result, TR_E_INTERRUPTED);
	assert_content(started, started->len);
}

static void bad_configurations_are_refused(void **state)
{
	static const struct {
		struct tr_io_cfg cfg;
		int code;
		const char *says;
	} bad[] = {
		{ { .method = "carrier-pigeon" }, TR_E_INVALID, "carrier-pigeon" },
		{ { .method = "sim" }, TR_E_INVALID, "sim" },
		{ { .method = "sync", .depth = 5000 }, TR_E_LIMIT, "5000" },
		{ { .method = "sync", .piece_bytes = 512 }, TR_E_LIMIT, "512" },
		{ { .method = "sync", .piece_bytes = 1ull << 32 }, TR_E_LIMIT, "4294967296" },
		{ { .method = "threads", .n_thread = 2000 }, TR_E_LIMIT, "2000" },
	};
	struct tr_err err;
	struct tr_io *io;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		assert_int_equal(tr_io_open(&io, &bad[i].cfg, &err), bad[i].code);
		assert_err_has(&err, bad[i].says);
	}
}

/* The device gives 1 GB/s after 100 ns. */
static void throttled_reads_take_their_time(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *first = add_req(b, 0, 4 * PIECE, TR_IO_DEMAND);
	struct tr_io_req *second = add_req(b, 8 * PIECE, PIECE, TR_IO_DEMAND);
	struct tr_io_stats stats;

	open_io(b, 8, 0);
	tr_io_throttle(b->io, 250000000);
	submit(b, first);
	submit(b, second);
	wait_all(b);
	assert_int_equal(first->end_ns - first->start_ns, 4 * 4 * PIECE);
	assert_int_equal(second->end_ns - first->start_ns, 4 * 5 * PIECE);
	assert_content(first, 4 * PIECE);
	assert_content(second, PIECE);
	tr_io_stats(b->io, &stats);
	assert_int_equal(stats.busy_ns, 4 * 5 * PIECE);
}

static void throttle_above_the_device_changes_nothing(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 4 * PIECE, TR_IO_DEMAND);

	open_io(b, 8, 0);
	tr_io_throttle(b->io, 2e9);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->end_ns - req->start_ns, 100 + 4 * PIECE);
}

static void poll_leaves_throttled_reads_until_they_are_due(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);

	open_io(b, 8, 0);
	tr_io_throttle(b->io, 500000000);
	submit(b, req);
	tr_io_sim_advance(&b->sim, 2 * PIECE - 1);
	assert_int_equal(tr_io_poll(b->io), 0);
	tr_io_sim_advance(&b->sim, 1);
	assert_int_equal(tr_io_poll(b->io), 1);
	assert_content(req, PIECE);
}

static void throttled_retry_waits_again(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, PIECE, TR_IO_DEMAND);

	rule(b, (struct tr_io_sim_rule){ .off = 0, .times = 1, .os_errno = EIO });
	open_io(b, 1, 0);
	tr_io_throttle(b->io, 250000000);
	submit(b, req);
	wait_all(b);
	assert_int_equal(req->result, 0);
	assert_int_equal(req->end_ns - req->start_ns, 2 * 4 * PIECE);
}

static void closing_waits_for_throttled_reads(void **state)
{
	struct bed *b = *state;
	struct tr_io_req *req = add_req(b, 0, 2 * PIECE, TR_IO_DEMAND);

	open_io(b, 1, 0);
	tr_io_throttle(b->io, 250000000);
	submit(b, req);
	tr_io_close(b->io);
	b->io = NULL;
	assert_int_equal(b->n_done, 1);
	assert_content(req, 2 * PIECE);
}

#define io_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		io_test(request_is_cut_into_pieces),
		io_test(pieces_keep_the_alignment_of_the_file),
		io_test(depth_limits_pieces_in_flight),
		io_test(busy_and_request_times_follow_the_clock),
		io_test(poll_takes_only_what_is_complete),
		io_test(short_read_is_resubmitted),
		io_test(resubmission_of_a_direct_read_starts_aligned),
		io_test(buffered_short_read_goes_on_where_it_stopped),
		io_test(window_past_the_end_is_complete_when_need_is_covered),
		io_test(file_that_ends_early_is_an_error),
		io_test(eio_is_retried),
		io_test(lasting_eio_is_reported_with_its_errno),
		io_test(other_errors_are_not_retried),
		io_test(failure_waits_for_the_pieces_in_flight),
		io_test(eagain_is_requeued_without_using_up_retries),
		io_test(endless_eagain_ends_as_an_error),
		io_test(busy_method_gets_the_piece_again),
		io_test(endlessly_busy_method_ends_as_an_error),
		io_test(demand_goes_before_background),
		io_test(background_keeps_to_its_share_of_the_depth),
		io_test(requests_of_a_batch_start_in_order),
		io_test(queued_request_is_cancelled),
		io_test(cancelled_last_request_leaves_a_queue_that_works),
		io_test(promoted_request_overtakes_background),
		io_test(promoting_a_started_request_moves_its_rest),
		io_test(reused_request_has_a_new_generation),
		io_test(done_may_submit_the_same_request),
		io_test(empty_request_finishes),
		io_test(close_cancels_queued_and_finishes_started),
		io_test(throttled_reads_take_their_time),
		io_test(throttle_above_the_device_changes_nothing),
		io_test(poll_leaves_throttled_reads_until_they_are_due),
		io_test(throttled_retry_waits_again),
		io_test(closing_waits_for_throttled_reads),
		cmocka_unit_test(bad_configurations_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
