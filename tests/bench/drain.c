/* The kernel's own time to dump the table: everything is received and nothing is read.
 * No reader of a single dump can be faster.   cc -O2 -o drain drain.c && ./drain
 */
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <sys/socket.h>

int main(void)
{
	static char buffer[65536];
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct {
		struct nlmsghdr header;
		struct nfgenmsg generic;
	} request = {
		.header = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | 1, /* IPCTNL_MSG_CT_GET */
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
	};
	long entries = 0;
	int sock = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);

	if (sock < 0 || bind(sock, (void *)&kernel, sizeof(kernel)) ||
	    send(sock, &request, sizeof(request), 0) < 0) {
		perror("ctnetlink");
		return 1;
	}
	for (;;) {
		ssize_t left = recv(sock, buffer, sizeof(buffer), 0);
		struct nlmsghdr *message = (void *)buffer;

		if (left <= 0) {
			perror("recv");
			return 1;
		}
		for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
			if (message->nlmsg_type == NLMSG_ERROR)
				return 1;
			if (message->nlmsg_type == NLMSG_DONE) {
				printf("%ld\n", entries);
				return 0;
			}
			entries++;
		}
	}
}
