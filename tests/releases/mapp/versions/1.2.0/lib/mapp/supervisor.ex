defmodule Mapp.Supervisor do
  use Supervisor

  def start_link, do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(_) do
    children = [Mapp.Server, Mapp.Tick | :demo_tcp.children(:mapp, Mapp.Conn)]
    Supervisor.init(children, strategy: :one_for_one, max_restarts: 1)
  end
end
