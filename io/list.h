/* list.h - first-in-first-out lists of requests and of pieces, linked through their next. */
#ifndef TR_IO_LIST_H
#define TR_IO_LIST_H

#include "io/method.h"

struct tr_io_req_list {
	struct tr_io_req *head, *tail; /* tail is valid while head is not NULL */
};

struct tr_io_piece_list {
	struct tr_io_piece *head, *tail;
};

static inline void tr_io_req_push(struct tr_io_req_list *list, struct tr_io_req *req)
{
	req->next = NULL;
	if (list->head)
		list->tail->next = req;
	else
		list->head = req;
	list->tail = req;
}

/* req is in the list. */
static inline void tr_io_req_remove(struct tr_io_req_list *list, struct tr_io_req *req)
{
	struct tr_io_req *before = NULL, *r = list->head;

	for (; r != req; r = r->next)
		before = r;
	if (before)
		before->next = req->next;
	else
		list->head = req->next;
	if (list->tail == req)
		list->tail = before;
}

static inline void tr_io_piece_push(struct tr_io_piece_list *list, struct tr_io_piece *piece)
{
	piece->next = NULL;
	if (list->head)
		list->tail->next = piece;
	else
		list->head = piece;
	list->tail = piece;
}

static inline void tr_io_piece_push_front(struct tr_io_piece_list *list, struct tr_io_piece *piece)
{
	if (!list->head)
		list->tail = piece;
	piece->next = list->head;
	list->head = piece;
}

static inline struct tr_io_piece *tr_io_piece_pop(struct tr_io_piece_list *list)
{
	struct tr_io_piece *piece = list->head;

	if (piece)
		list->head = piece->next;
	return piece;
}

#endif
