// What people program with otherwise: two libraries in Go count the table by protocol.
//
//	peers ti-mo|vishvananda
package main

import (
	"fmt"
	"os"

	"github.com/ti-mo/conntrack"
	"github.com/vishvananda/netlink"
)

func main() {
	counts, err := map[string]func() (map[uint8]int, error){
		"ti-mo":       withTiMo,
		"vishvananda": withVishvananda,
	}[os.Args[1]]()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(counts)
}

func withTiMo() (map[uint8]int, error) {
	connection, err := conntrack.Dial(nil)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	flows, err := connection.Dump(nil)
	counts := map[uint8]int{}
	for _, flow := range flows {
		counts[flow.TupleOrig.Proto.Protocol]++
	}
	return counts, err
}

func withVishvananda() (map[uint8]int, error) {
	counts := map[uint8]int{}
	for _, family := range []netlink.InetFamily{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			return nil, err
		}
		for _, flow := range flows {
			counts[flow.Forward.Protocol]++
		}
	}
	return counts, nil
}
