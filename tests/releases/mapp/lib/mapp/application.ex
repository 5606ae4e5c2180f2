defmodule Mapp.Application do
  use Application

  @impl true
  def start(_type, _args) do
    with :ok <- :demo.boot(:mapp) do
      Supervisor.start_link([Mapp.Server], strategy: :one_for_one, max_restarts: 1, name: Mapp.Supervisor)
    end
  end

  def ready, do: :demo.ready()
end
