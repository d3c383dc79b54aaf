// What BehaviorTree.CPP does with a tree: reads lines of a trace file ("xml", "halt", "ms" between ticks, "n" ticks) and writes
// them with "ticks". It made bt-traces-more.jsonl.gz, and gives the same ticks for all of bt-traces.jsonl.gz.
//
// To build it, take BehaviorTree.CPP 4.10.0, put the timer_queue.h beside this file in the place of its own (so that time
// passes only between ticks), compile its src without the Groot2, SQLite and Minitrace loggers, and link.
#include <iostream>

#include "behaviortree_cpp/bt_factory.h"
#include "behaviortree_cpp/contrib/json.hpp"
#include "behaviortree_cpp/utils/timer_queue.h"

using namespace BT;
using nlohmann::json;

// play gives the next letter of the port s, in a circle over the node's whole life.
static NodeStatus play(TreeNode& node, size_t& at) {
  const auto s = node.getInput<std::string>("s").value();
  const char c = s[at++ % s.size()];
  return c == 'R' ? NodeStatus::RUNNING : c == 'S' ? NodeStatus::SUCCESS : NodeStatus::FAILURE;
}

struct L : StatefulActionNode {
  using StatefulActionNode::StatefulActionNode;
  static PortsList providedPorts() { return { InputPort<std::string>("s") }; }
  NodeStatus onStart() override { return play(*this, at); }
  NodeStatus onRunning() override { return play(*this, at); }
  void onHalted() override {}
  size_t at = 0;
};

struct C : ConditionNode {
  using ConditionNode::ConditionNode;
  static PortsList providedPorts() { return { InputPort<std::string>("s") }; }
  NodeStatus tick() override { return play(*this, at); }
  size_t at = 0;
};

int main() {
  BehaviorTreeFactory factory;
  factory.registerNodeType<L>("L");
  factory.registerNodeType<C>("C");
  static json moves;
  for(std::string line; std::getline(std::cin, line);) {
    json trace = json::parse(line);
    trace["ticks"] = json::array();
    try {
      auto board = Blackboard::create();
      board->set("v", 0.0);
      board->set("w", std::string("0"));
      factory.clearRegisteredBehaviorTrees();
      // Never deleted: where a tree stands in the middle of an exception, its end would throw again.
      Tree& tree = *new Tree(factory.createTreeFromText(trace["xml"].get<std::string>(), board));
      std::vector<TreeNode::StatusChangeSubscriber> subscribed;
      tree.applyVisitor([&](TreeNode* n) {
        subscribed.push_back(n->subscribeToStatusChange([](TimePoint, const TreeNode& node, NodeStatus from, NodeStatus to) {
          moves.push_back({ node.UID(), int(from), int(to) });
        }));
      });
      for(int k = 0; k < trace.value("n", 8); k++) {
        moves = json::array();
        ManualClock::advance(trace.value("ms", 1));
        board->set("w", std::to_string(k % 2));
        std::string root = "HALT";
        try {
          if(k == trace["halt"]) tree.haltTree();
          else root = toStr(tree.tickExactlyOnce());
        } catch(std::exception& e) {
          trace["error_at"] = k;
          trace["error"] = e.what();
          break;
        }
        trace["ticks"].push_back({ { "r", root }, { "v", board->get<double>("v") }, { "t", moves } });
      }
      ManualClock::timers().clear();
    } catch(std::exception& e) {
      trace["load_error"] = e.what();
    }
    std::cout << trace.dump() << "\n";
  }
}
